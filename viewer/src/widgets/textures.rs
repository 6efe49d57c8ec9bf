//! Caches pictures on the graphics card and other things while they are shown.

use eframe::egui::{self, ColorImage, TextureHandle, TextureOptions};
use std::any::Any;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

/// Number of frames after which a picture that is no longer shown is dropped.
const KEEP: u64 = 240;

/// The pictures, by their keys.
#[derive(Default)]
pub struct Textures {
    kept: HashMap<u64, (TextureHandle, u64)>,
    memos: HashMap<u64, (Rc<dyn Any>, u64)>,
    frame: u64,
}

impl Textures {
    /// The picture of a key, made if it is not cached. The key must contain everything that determines the picture.
    pub fn get(
        &mut self,
        ctx: &egui::Context,
        key: impl Hash,
        options: TextureOptions,
        make: impl FnOnce() -> ColorImage,
    ) -> TextureHandle {
        let frame = self.frame;
        let entry = self.kept.entry(hashed(key));
        let kept = entry.or_insert_with(|| (ctx.load_texture("picture", make(), options), frame));
        kept.1 = frame;
        kept.0.clone()
    }

    /// The same for any other value. The key must also say what kind of value it is.
    pub fn memo<T: 'static>(&mut self, key: impl Hash, make: impl FnOnce() -> T) -> Rc<T> {
        let frame = self.frame;
        let key = hashed(key);
        if let Some((known, last)) = self.memos.get_mut(&key)
            && let Ok(known) = known.clone().downcast::<T>()
        {
            *last = frame;
            return known;
        }
        let made = Rc::new(make());
        self.memos.insert(key, (made.clone(), frame));
        made
    }

    /// Counts a frame, and drops what was not shown for a while.
    pub fn end_frame(&mut self) {
        self.frame += 1;
        let frame = self.frame;
        self.kept.retain(|_, (_, last)| frame - *last < KEEP);
        self.memos.retain(|_, (_, last)| frame - *last < KEEP);
    }
}

fn hashed(key: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
