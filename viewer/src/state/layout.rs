//! The arrangement of the views.

use super::view::View;
use eframe::egui::Id;
use egui_tiles::{Linear, LinearDir, Tile, TileId, Tiles, Tree};
use serde::{Deserialize, Serialize};

/// A place for a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pane(pub View);

/// The tree on the left; fields, kernels and sparsity above; curves, orientations and bias below.
pub fn default_layout() -> Tree<Pane> {
    let mut tiles = Tiles::default();
    let mut tabs = |views: &[View]| {
        let panes: Vec<TileId> = views.iter().map(|view| tiles.insert_pane(Pane(*view))).collect();
        tiles.insert_tab_tile(panes)
    };
    let left = tabs(&[View::Network, View::Messages]);
    let fields = tabs(&[View::Erf, View::Sparsity]);
    let kernels = tabs(&[View::Kernels]);
    let orientations = tabs(&[View::Orientations, View::ShapeBias]);
    let training = tabs(&[View::Training]);
    let mut pair = |dir, children: [TileId; 2], shares: [f32; 2]| {
        let mut linear = Linear::new(dir, children.to_vec());
        for (child, share) in children.into_iter().zip(shares) {
            linear.shares.set_share(child, share);
        }
        tiles.insert_container(linear)
    };
    let above = pair(LinearDir::Horizontal, [fields, kernels], [1.25, 1.0]);
    let below = pair(LinearDir::Horizontal, [orientations, training], [1.25, 1.0]);
    let right = pair(LinearDir::Vertical, [above, below], [1.2, 1.0]);
    let root = pair(LinearDir::Horizontal, [left, right], [0.38, 1.0]);
    Tree::new(Id::unique("views"), root, tiles)
}

/// Brings a view to the front, and opens it again if it was closed.
pub fn show(layout: &mut Tree<Pane>, view: View) {
    let is = |tile: &Tile<Pane>| matches!(tile, Tile::Pane(pane) if pane.0 == view);
    let known = layout.tiles.iter().find(|(_, tile)| is(tile)).map(|(id, _)| *id);
    let id = match known {
        Some(id) => id,
        None => {
            let id = layout.tiles.insert_pane(Pane(view));
            match layout.root() {
                Some(root) => layout.move_tile_to_container(id, root, usize::MAX, false),
                None => *layout = Tree::new_tabs(Id::unique("views"), vec![Pane(view)]),
            }
            id
        }
    };
    layout.set_visible(id, true);
    layout.make_active(|tile, _| tile == id);
}

/// Closes a view.
pub fn close(layout: &mut Tree<Pane>, view: View) {
    let is = |tile: &Tile<Pane>| matches!(tile, Tile::Pane(pane) if pane.0 == view);
    let known = layout.tiles.iter().find(|(_, tile)| is(tile)).map(|(id, _)| *id);
    if let Some(id) = known {
        layout.remove_recursively(id);
    }
}

/// The views that are not hidden behind other tabs.
pub fn visible(layout: &Tree<Pane>) -> Vec<View> {
    layout.active_tiles().iter().filter_map(|id| layout.tiles.get_pane(id).map(|pane| pane.0)).collect()
}
