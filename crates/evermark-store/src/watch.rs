//! stub
use std::path::Path;
use std::time::Duration;
#[derive(Clone)]
pub struct Watch;
pub struct Changes { pub paths: Vec<String>, pub overflow: bool }
pub enum WatchState { Watching, Degraded(String) }
impl Watch {
    pub fn start(_root: &Path) -> Self { Watch }
    pub fn drain(&self) -> Changes { Changes { paths: vec![], overflow: false } }
    pub fn wait(&self, _timeout: Duration) -> bool { false }
    pub fn state(&self) -> WatchState { WatchState::Degraded(String::new()) }
}
