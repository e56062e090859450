//! The identities that the key factories draw.

use session_core::Identity;

/// The key factory's side.
#[derive(Default)]
pub(crate) struct Draws {
    pub(crate) prefix: String,
    pub(crate) drawn: Vec<String>,
    pub(crate) repeat: bool,
    pub(crate) repeated: usize,
}

impl Draws {
    pub(crate) fn draw(&mut self) -> Identity {
        let identity = if std::mem::take(&mut self.repeat) {
            self.repeated += 1;
            self.reserved()
        } else {
            let identity = format!("{}_{:06}", self.prefix, self.drawn.len());
            self.drawn.push(identity.clone());
            identity
        };
        Identity::parse(&identity).unwrap()
    }

    /// An identity that is always taken.
    pub(crate) fn reserved(&self) -> String {
        format!("{}_reserved", self.prefix)
    }
}
