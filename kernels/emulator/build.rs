//! Compiles the unchanged kernels with the C++ compiler and the emulator's header.

fn main() {
    println!("cargo::rerun-if-changed=..");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .define("KS_EMULATOR", None)
        // Fibers leave functions by longjmp, which the checks of glibc take for an attack.
        .flag("-U_FORTIFY_SOURCE")
        .flag("-Wno-unknown-pragmas")
        // A product and a sum are a multiply-add only where a kernel says so.
        .flag("-ffp-contract=off")
        .opt_level(2)
        .warnings_into_errors(true)
        .file("emulator.cpp")
        .compile("kernelscope_emulator");
}
