//! The live generation: which index answers, and what its vectors mean.

use crate::engine::{Inner, OpenIndex, POISON};
use crate::error::Error;
use evermark_core::embed::ModelId;
use evermark_core::error::ErrorKind;
use evermark_core::index::Index;
use evermark_core::world::World;
use evermark_store::durable;
use evermark_store::layout::{Generation, Layout};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// A generation that is open.
pub(crate) struct Live {
    pub(crate) generation: Generation,
    pub(crate) index: Arc<dyn Index>,
    /// What made its vectors; `None` when it holds none.
    pub(crate) model: Option<ModelId>,
}

/// What a generation's folder says about its vectors.
#[derive(Serialize, Deserialize)]
struct ModelFile {
    model: Option<String>,
    dimension: Option<usize>,
    analyzer: u32,
}

const MODEL_FILE: &str = "model.json";

impl Live {
    /// Makes a new, empty generation for this model.
    pub(crate) fn create(
        layout: &Layout,
        world: &dyn World,
        indexes: &dyn OpenIndex,
        model: Option<&ModelId>,
    ) -> Result<Self, Error> {
        let generation = layout.new_generation()?;
        let dir = layout.generation_dir(generation);
        let file = ModelFile {
            model: model.map(|model| model.name.clone()),
            dimension: model.map(|model| model.dimension),
            analyzer: evermark_core::text::ANALYZER_VERSION,
        };
        let text = serde_json::to_vec_pretty(&file).expect("plain fields always serialise");
        durable::write(world, &dir.join(MODEL_FILE), &text)?;
        let index = indexes.open(&dir, model.map(|model| model.dimension))?;
        Ok(Self { generation, index, model: model.cloned() })
    }

    /// Opens an existing generation; `None` when it is damaged or was made by other rules, so that it must be rebuilt.
    pub(crate) fn open(
        layout: &Layout,
        indexes: &dyn OpenIndex,
        generation: Generation,
    ) -> Result<Option<Self>, Error> {
        let dir = layout.generation_dir(generation);
        let Some(file) = read_model(&dir) else { return Ok(None) };
        if file.analyzer != evermark_core::text::ANALYZER_VERSION {
            tracing::info!(%generation, "the index was made by other rules of text analysis and will be rebuilt");
            return Ok(None);
        }
        let model = match (file.model, file.dimension) {
            (Some(name), Some(dimension)) => Some(ModelId { name, dimension }),
            _ => None,
        };
        let opened = indexes.open(&dir, model.as_ref().map(|model| model.dimension)).map_err(Error::from);
        // One that cannot tell what it holds is not worth more than one that does not open.
        let counted = opened.and_then(|index| {
            let live = Self { generation, index, model };
            live.rows().map(|_| live)
        });
        match counted {
            Ok(live) => Ok(Some(live)),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::warn!(%generation, %error, "the index is damaged and will be rebuilt from the Markdown");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn rows(&self) -> Result<u64, Error> {
        Ok(self.index.info()?.rows.iter().map(|(_, n)| n).sum())
    }

    /// Tells whether this generation's vectors can be compared with those of `model`.
    pub(crate) fn has_vectors_of(&self, model: &ModelId) -> bool {
        self.model.as_ref() == Some(model)
    }
}

fn read_model(dir: &Path) -> Option<ModelFile> {
    let bytes = std::fs::read(dir.join(MODEL_FILE)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

impl Inner {
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().expect(POISON))
    }

    /// Tells whether the live generation's folder is still where it was made.
    pub(crate) fn index_is_there(&self) -> bool {
        self.layout.generation_dir(self.live().generation).is_dir() && self.layout.current_file().is_file()
    }
}
