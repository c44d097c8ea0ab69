//! What a file system has left, and from where on that is too little.

#[cfg(test)]
mod tests;

/// What a file system says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// What an ordinary user may still take.
    pub free_bytes: u64,
    pub total_bytes: u64,
    pub free_inodes: u64,
    /// 0 where there is no fixed number of them (btrfs, some network file systems): then none can run out.
    pub total_inodes: u64,
    pub is_read_only: bool,
}

/// A mark on a volume's free bytes and inodes: an amount, or a share of the volume where that is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    pub bytes: u64,
    pub percent: u64,
    pub inodes: u64,
    pub inode_percent: u64,
}

impl Watermark {
    /// Returns the free bytes below which this mark is reached.
    pub fn bytes_of(&self, volume: &Volume) -> u64 {
        self.bytes.min(share(volume.total_bytes, self.percent))
    }

    /// Returns the free inodes below which this mark is reached; 0 where none can run out.
    pub fn inodes_of(&self, volume: &Volume) -> u64 {
        self.inodes.min(share(volume.total_inodes, self.inode_percent))
    }

    pub fn is_reached(&self, volume: &Volume) -> bool {
        let inodes = volume.total_inodes > 0 && volume.free_inodes < self.inodes_of(volume);
        volume.free_bytes < self.bytes_of(volume) || inodes
    }
}

fn share(of: u64, percent: u64) -> u64 {
    // Divided first: no volume is so small that the rounding matters, and none so large that it overflows.
    (of / 100).saturating_mul(percent)
}

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything may be done.
    Ample,
    /// Nothing is rewritten: no merging, no generation beside another.
    Low,
    /// The index takes no writes. Markdown, searching and reclaiming go on.
    Out,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ample => "ample",
            Self::Low => "low",
            Self::Out => "out",
        }
    }
}

/// The two marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    pub low: Watermark,
    pub out: Watermark,
}

impl Default for Watermarks {
    /// Room for one rewrite, the ballast and some more; and room for one write beside what reclaiming may have to wait for.
    /// On small volumes shares of them, so that a volume of 64 MiB can be used at all.
    fn default() -> Self {
        Self {
            low: Watermark { bytes: 256 << 20, percent: 10, inodes: 2000, inode_percent: 5 },
            out: Watermark { bytes: 64 << 20, percent: 4, inodes: 500, inode_percent: 2 },
        }
    }
}

impl Watermarks {
    /// Returns how much room there is. A volume that cannot be written has none.
    pub fn level(&self, volume: &Volume) -> Level {
        if volume.is_read_only || self.out.is_reached(volume) {
            Level::Out
        } else if self.low.is_reached(volume) {
            Level::Low
        } else {
            Level::Ample
        }
    }

    /// Tells whether a file of this size can be kept in reserve: beside it there is ample room, and it is no large part
    /// of the volume.
    pub fn has_room_for_ballast(&self, volume: &Volume, bytes: u64) -> bool {
        const VOLUME_TIMES_MIN: u64 = 16;
        let left = volume.free_bytes.saturating_sub(bytes);
        volume.total_bytes >= bytes.saturating_mul(VOLUME_TIMES_MIN)
            && self.level(&Volume { free_bytes: left, ..*volume }) == Level::Ample
            && volume.free_bytes >= bytes
    }
}
