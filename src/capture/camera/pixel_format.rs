//! The pixel formats that can be read, by the four characters that V4L2 gives them.

use std::fmt;

/// The formats that can be read, by V4L2's four characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PixelFormat {
    Mjpg,
    Yuyv,
    Uyvy,
    Nv12,
    Grey,
    Rgb3,
    Bgr3,
}

impl PixelFormat {
    pub const ALL: [Self; 7] =
        [Self::Mjpg, Self::Yuyv, Self::Uyvy, Self::Nv12, Self::Grey, Self::Rgb3, Self::Bgr3];

    pub fn word(self) -> &'static str {
        match self {
            Self::Mjpg => "MJPG",
            Self::Yuyv => "YUYV",
            Self::Uyvy => "UYVY",
            Self::Nv12 => "NV12",
            Self::Grey => "GREY",
            Self::Rgb3 => "RGB3",
            Self::Bgr3 => "BGR3",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.word() == word)
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_v4l2() {
        for format in PixelFormat::ALL {
            assert_eq!(PixelFormat::from_word(format.word()), Some(format));
        }
        assert_eq!(PixelFormat::from_word("H264"), None);
    }
}
