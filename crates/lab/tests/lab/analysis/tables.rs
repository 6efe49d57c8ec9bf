//! Costs, and the tables of every analysis.

use super::kernels::layers_of;
use super::shape_bias::reference_answers;
use super::{frozen, network};
use kernelscope::analysis::cost::costs;
use kernelscope::analysis::orientation::orientations;
use kernelscope::analysis::shape_bias::shape_bias;
use kernelscope::nn::BuildOptions;
use kernelscope::zoo::registry;
use kernelscope_lab::save;

#[test]
fn costs_add_up() {
    for entry in registry() {
        let network = network(entry.name, &[], BuildOptions::shapes_only());
        let report = costs(&network, 64, 96).unwrap();
        assert_eq!((report.model.as_str(), report.size), (entry.name, (64, 96)));
        assert_eq!(report.params, network.params().count(), "{}", entry.name);
        assert_eq!(report.theta, network.params().count_theta(), "{}", entry.name);
        assert_eq!(report.macs, network.trace(64, 96).unwrap().macs(), "{}", entry.name);
        let sum = |f: &dyn Fn(&kernelscope::analysis::cost::LayerCost) -> u64| report.layers.iter().map(f).sum::<u64>();
        assert_eq!(sum(&|l| l.params as u64), report.params as u64, "{}: parameters of the layers", entry.name);
        assert_eq!(sum(&|l| l.macs), report.macs, "{}", entry.name);
        assert_eq!(sum(&|l| l.activation_bytes), report.activation_bytes, "{}", entry.name);
        assert!(report.layers.iter().all(|l| l.activation_bytes == 4 * l.output.values()), "{}", entry.name);
    }
    // A pointwise layer by hand: 32 to 128 channels on a 16x24 map.
    let network = network("nano-2d", &[], BuildOptions::shapes_only());
    let report = costs(&network, 64, 96).unwrap();
    let expand = report.layers.iter().find(|l| l.path == "stages.0.0.pwconv1").unwrap();
    assert_eq!((expand.params, expand.macs), (32 * 128 + 128, 32 * 128 * 16 * 24));
}

#[test]
fn tables_hold_every_row() {
    let folder = tempfile::tempdir().unwrap();
    let lines = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap().lines().count();
    let network = frozen("nano-1d", &[]);
    let report = costs(&network, 64, 64).unwrap();
    save::costs(&folder.path().join("costs.csv"), &report).unwrap();
    assert_eq!(lines("costs.csv"), report.layers.len() + 1);
    let layers: Vec<_> = layers_of("nano-1d", &[]).iter().map(orientations).collect();
    save::orientations(&folder.path().join("orientations.csv"), &layers).unwrap();
    assert_eq!(lines("orientations.csv"), layers.iter().map(|l| l.channels.len()).sum::<usize>() + 1);
    let (categories, _, answers) = reference_answers();
    let report = shape_bias("reference", categories.names(), &answers);
    save::shape_bias(&folder.path().join("bias.csv"), &report).unwrap();
    let table = std::fs::read_to_string(folder.path().join("bias.csv")).unwrap();
    assert_eq!(table.lines().count(), 18);
    assert!(table.lines().last().unwrap().starts_with("all,") && table.contains("0.5517241379310345"), "{table}");
}
