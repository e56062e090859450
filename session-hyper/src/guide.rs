// A page is a Markdown file, to be read here and in the repository. Its links are by name: the file
// says at its end what a name means in the repository; of two definitions the first counts, which in
// rustdoc are those of `rustdoc-links.txt`.
#![doc = include_str!("guide/rustdoc-links.txt")]
#![doc = include_str!("guide/README.md")]

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/choosing.md")]
pub mod choosing {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/migrating.md")]
pub mod migrating {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/deploying.md")]
pub mod deploying {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/operating.md")]
pub mod operating {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/threats.md")]
pub mod threats {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/backend.md")]
pub mod backend {}
