//! The layers of a network as a tree of modules, with costs added up, and addresses of layers and channels.
//!
//! An address is the path of a module as checkpoints name it, and where it matters a channel counted from 0:
//! `stages.2.5.dwconv` and `stages.2.5.dwconv:17`. It stays the same from one run, seed and program to the next.

use super::cost::CostReport;
use crate::nn::FeatureShape;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A layer or a channel of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// Module path.
    pub path: String,
    /// Channel counted from 0; the whole layer if `None`.
    pub channel: Option<usize>,
}

impl Address {
    /// A whole layer.
    pub fn layer(path: impl Into<String>) -> Self {
        Address { path: path.into(), channel: None }
    }

    /// The same layer with a channel.
    pub fn with_channel(&self, channel: usize) -> Self {
        Address { channel: Some(channel), ..self.clone() }
    }

    /// Whether a module is this one or inside it.
    ///
    /// ```
    /// use kernelscope::analysis::tree::Address;
    /// let block = Address::layer("stages.2.1");
    /// assert!(block.holds("stages.2.1") && block.holds("stages.2.1.dwconv"));
    /// assert!(!block.holds("stages.2.10.dwconv") && !block.holds("stages.2"));
    /// ```
    pub fn holds(&self, path: &str) -> bool {
        path.strip_prefix(&self.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.channel {
            Some(channel) => write!(f, "{}:{channel}", self.path),
            None => f.write_str(&self.path),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    /// Reads `PATH` or `PATH:CHANNEL`.
    ///
    /// ```
    /// use kernelscope::analysis::tree::Address;
    /// let address: Address = "stages.2.5.dwconv:17".parse()?;
    /// assert_eq!((address.path.as_str(), address.channel), ("stages.2.5.dwconv", Some(17)));
    /// assert_eq!(address.to_string(), "stages.2.5.dwconv:17");
    /// # Ok::<(), kernelscope::Error>(())
    /// ```
    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let wrong = || {
            Error::argument("address", format!("\"{text}\""), "PATH or PATH:CHANNEL, for example stages.2.5.dwconv:17")
        };
        let (path, channel) = match text.rsplit_once(':') {
            Some((path, channel)) => (path, Some(channel.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let well_formed = !path.is_empty() && path.split('.').all(|part| !part.is_empty());
        if !well_formed || path.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control()) {
            return Err(wrong());
        }
        Ok(Address { path: path.to_string(), channel })
    }
}

/// A module: a layer, or a group of modules with their costs added up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerTree {
    /// Last part of the path; the network's name at the root.
    pub name: String,
    /// Module path; empty at the root.
    pub path: String,
    /// Kind of layer; `None` for groups that are no layer themselves.
    pub kind: Option<String>,
    /// Output shape: a layer's own, or that of a group's last layer.
    pub output: Option<FeatureShape>,
    /// Parameters with those of the modules inside.
    pub params: usize,
    /// Multiply-adds with those of the modules inside.
    pub macs: u64,
    /// The modules inside, in order of execution.
    pub children: Vec<LayerTree>,
}

impl LayerTree {
    /// The tree of a network's layers.
    ///
    /// Parameters and multiply-adds of a group are the sums over its layers, so that the shares of all children of a
    /// module add up to its own. Parameters that belong to no layer of the trace (none in the registered networks) are
    /// counted at the root alone.
    pub fn new(costs: &CostReport) -> Self {
        let mut root = LayerTree::empty(costs.model.clone(), String::new());
        for layer in &costs.layers {
            let mut node = &mut root;
            let mut path = String::new();
            for part in layer.path.split('.').filter(|part| !part.is_empty()) {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(part);
                node = node.child(part, &path);
                node.params += layer.params;
                node.macs += layer.macs;
                node.output = Some(layer.output);
            }
            match &mut node.kind {
                // A path that is traced twice (a layer and its activation) keeps the kind that came first.
                Some(_) => {}
                none => *none = Some(layer.kind.clone()),
            }
        }
        (root.params, root.macs) = (costs.params, costs.macs);
        root.output = costs.layers.last().map(|layer| layer.output);
        root
    }

    fn empty(name: String, path: String) -> Self {
        LayerTree { name, path, kind: None, output: None, params: 0, macs: 0, children: Vec::new() }
    }

    fn child(&mut self, name: &str, path: &str) -> &mut LayerTree {
        let index = match self.children.iter().position(|child| child.name == name) {
            Some(index) => index,
            None => {
                self.children.push(LayerTree::empty(name.to_string(), path.to_string()));
                self.children.len() - 1
            }
        };
        &mut self.children[index]
    }

    /// The module at a path; the root for the empty path.
    pub fn find(&self, path: &str) -> Option<&LayerTree> {
        if path == self.path {
            return Some(self);
        }
        let inside = |child: &&LayerTree| {
            path.strip_prefix(child.path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.children.iter().find(inside)?.find(path)
    }

    /// All modules of which none contains another, in order of execution.
    pub fn leaves(&self) -> Vec<&LayerTree> {
        if self.children.is_empty() {
            return vec![self];
        }
        self.children.iter().flat_map(LayerTree::leaves).collect()
    }

    /// Checks that an address names a module of the network and one of its channels.
    ///
    /// # Errors
    /// If there is no such module, with the names that exist where the path goes wrong, or no such channel.
    pub fn check(&self, address: &Address) -> Result<()> {
        let Some(node) = self.find(&address.path) else {
            let (mut known, mut place) = (self, String::from("the network"));
            let mut path = String::new();
            for part in address.path.split('.') {
                path = if path.is_empty() { part.to_string() } else { format!("{path}.{part}") };
                let Some(next) = known.children.iter().find(|child| child.path == path) else { break };
                (known, place) = (next, path.clone());
            }
            let names: Vec<&str> = known.children.iter().map(|child| child.name.as_str()).collect();
            let allowed = if names.is_empty() { "nothing inside it".to_string() } else { names.join(", ") };
            return Err(Error::argument("address", &address.path, format!("in {place}: {allowed}")));
        };
        let channels = node.output.map_or(0, |output| output.channels);
        match address.channel {
            Some(channel) if channel >= channels => {
                Err(Error::argument("channel", channel, format!("less than {channels}, in {}", address.path)))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::cost::costs;
    use crate::nn::BuildOptions;
    use crate::zoo::{ModelSpec, Network};

    fn tree(name: &str) -> LayerTree {
        let network = Network::build(ModelSpec::named(name).unwrap(), BuildOptions::shapes_only()).unwrap();
        LayerTree::new(&costs(&network, 64, 64).unwrap())
    }

    fn check_sums(node: &LayerTree) {
        if !node.children.is_empty() {
            let params: usize = node.children.iter().map(|child| child.params).sum();
            let macs: u64 = node.children.iter().map(|child| child.macs).sum();
            assert!(params <= node.params && macs <= node.macs, "{}", node.path);
            // Only the root may have more: what a layer has beside its parts is a part of the trace too.
            if node.kind.is_none() && !node.path.is_empty() {
                assert_eq!((params, macs), (node.params, node.macs), "{}", node.path);
            }
        }
        node.children.iter().for_each(check_sums);
    }

    #[test]
    fn shares_of_the_children_add_up() {
        let first = |name| if name == "nano-mbv2" { "features.0" } else { "stages.0" };
        for name in ["nano-1d", "nano-sw", "nano-replk", "nano-slak", "nano-mbv2", "convnext-t-1d"] {
            let tree = tree(name);
            check_sums(&tree);
            let macs: u64 = tree.children.iter().map(|child| child.macs).sum();
            assert_eq!(macs, tree.macs, "{name}");
            assert!(tree.params > 0 && tree.find(first(name)).is_some_and(|block| block.macs > 0), "{name}");
        }
    }

    #[test]
    fn addresses_are_checked_and_wrong_ones_say_what_exists() {
        let tree = tree("nano-1d");
        let leaf = tree.leaves().into_iter().find(|leaf| leaf.path.ends_with("dwconv")).unwrap().clone();
        let address = Address::layer(leaf.path.clone());
        assert!(tree.check(&address).is_ok() && tree.check(&address.with_channel(0)).is_ok());
        let channels = leaf.output.unwrap().channels;
        let message = tree.check(&address.with_channel(channels)).unwrap_err().to_string();
        assert!(message.contains(&format!("less than {channels}")), "{message}");
        let message = tree.check(&Address::layer("stages.0.99")).unwrap_err().to_string();
        assert!(message.contains("in stages.0: 0"), "{message}");
        for wrong in ["", ":3", "a..b", "a:b", "a: 3 4", "a b", "a:-1"] {
            let message = wrong.parse::<Address>().unwrap_err().to_string();
            assert!(message.starts_with("address: got "), "{wrong}: {message}");
        }
    }
}
