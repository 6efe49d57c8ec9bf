//! Enumerations that can be listed.

/// An enumeration whose values are listed as `ALL` in the order of their declaration, so that none can be left out.
macro_rules! listed {
    ($(#[$about:meta])* pub enum $name:ident { $($(#[$doc:meta])* $value:ident,)* }) => {
        $(#[$about])*
        pub enum $name {
            $($(#[$doc])* $value,)*
        }

        impl $name {
            /// All values, in the order of their declaration.
            pub const ALL: [$name; [$(stringify!($value)),*].len()] = [$($name::$value),*];
        }
    };
}
pub(crate) use listed;
