//! A payload before it is encrypted: a component, its arguments and its files.
//!
//! The bundle is what a stream of [`crate::Purpose::Payload`] holds. Every part
//! has its own hash, so that a payload may hold payloads and each is checked at
//! its own level (seed 000 [0069]). Whether the component is one is for the
//! enclave's runtime to say.

use borsh::{BorshDeserialize, BorshSerialize};
use wire::{LabelName, PayloadKind};
use zeroize::Zeroizing;

use crate::container::{self, ContainerError, Part};

/// What a bundle begins with.
const MAGIC: &[u8; 8] = b"rf-bundl";

/// Arguments, at most.
pub const MAX_ARGS: usize = 256;

/// Environment variables, at most.
pub const MAX_ENV: usize = 256;

/// Bytes of one argument, or of a variable with its name, at most.
pub const MAX_ARG_BYTES: usize = 32 * 1024;

/// Input files, at most.
pub const MAX_INPUTS: usize = 1024;

/// Keys of labels, at most: each is a transaction of the provider's.
pub const MAX_LABEL_KEYS: usize = 16;

/// A key of a label that the payload is given. It is in the encrypted bundle,
/// so the user vouches for the master key: a host cannot pass off another's.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LabelVariable {
    /// The environment variable that holds the key, in hex.
    pub variable: String,
    /// The label.
    pub label: LabelName,
    /// The oldest epoch that is accepted: the label's when the user asked.
    pub least_epoch: u64,
    /// The circle's master key, a compressed point of 96 bytes.
    pub master_key: [u8; 96],
}

/// A file of a job's `/input`.
#[derive(Clone, PartialEq, Eq)]
pub struct BundleFile {
    /// Its path beneath `/input`.
    pub path: String,
    /// Its contents.
    pub bytes: Vec<u8>,
}

/// A payload, owned: what the user's side makes.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    /// What the component is.
    pub kind: PayloadKind,
    /// Arguments after the program's name.
    pub args: Vec<String>,
    /// Environment: names and values.
    pub env: Vec<(String, String)>,
    /// Keys of labels that become variables too.
    pub label_keys: Vec<LabelVariable>,
    /// The WebAssembly component.
    pub component: Vec<u8>,
    /// Files beneath `/input`.
    pub inputs: Vec<BundleFile>,
}

/// A payload, borrowed from the bytes of its bundle: what the enclave reads.
pub struct BundleView<'a> {
    /// What the component is.
    pub kind: PayloadKind,
    /// Arguments after the program's name.
    pub args: Vec<String>,
    /// Environment: names and values.
    pub env: Vec<(String, String)>,
    /// Keys of labels that become variables too.
    pub label_keys: Vec<LabelVariable>,
    /// The WebAssembly component.
    pub component: &'a [u8],
    /// Files beneath `/input`: path and contents, in the bundle's order.
    pub inputs: Vec<(String, &'a [u8])>,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct Manifest {
    kind: PayloadKind,
    args: Vec<String>,
    env: Vec<(String, String)>,
    label_keys: Vec<LabelVariable>,
    component: Part,
    inputs: Vec<(String, Part)>,
}

impl Manifest {
    fn check(&self) -> Result<(), ContainerError> {
        let is_clean = |text: &str| text.len() <= MAX_ARG_BYTES && !text.contains('\0');
        let variable = |(name, value): &(String, String)| {
            is_clean(name) && is_clean(value) && !name.is_empty() && !name.contains('=')
        };
        let named = |name: &str| self.env.iter().any(|(other, _)| other == name);
        let key = |(at, key): (usize, &LabelVariable)| {
            let name = &key.variable;
            let earlier = self.label_keys[..at]
                .iter()
                .any(|one| one.variable == *name);
            variable(&(name.clone(), String::new()))
                && !named(name)
                && !earlier
                && key.label.is_well_formed()
        };
        let problem = if self.args.len() > MAX_ARGS || self.env.len() > MAX_ENV {
            "too many arguments or variables"
        } else if self.inputs.len() > MAX_INPUTS {
            "too many input files"
        } else if !self.args.iter().all(|argument| is_clean(argument)) {
            "an argument is too long or holds a zero byte"
        } else if !self.env.iter().all(variable) {
            "a variable has no name, is too long or holds a zero byte"
        } else if self.label_keys.len() > MAX_LABEL_KEYS {
            "too many keys of labels"
        } else if !self.label_keys.iter().enumerate().all(key) {
            "a key of a label has no variable of its own, or its label is malformed"
        } else {
            return container::check_paths(self.inputs.iter().map(|(path, _)| path.as_str()));
        };
        Err(ContainerError::Manifest(problem.to_owned()))
    }
}

impl Bundle {
    /// The bundle's bytes, ready to be encrypted.
    ///
    /// Errors: [`ContainerError`], for anything that [`BundleView::parse`] would refuse.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, ContainerError> {
        let file = |file: &BundleFile| (file.path.clone(), Part::of(&file.bytes));
        let manifest = Manifest {
            kind: self.kind,
            args: self.args.clone(),
            env: self.env.clone(),
            label_keys: self.label_keys.clone(),
            component: Part::of(&self.component),
            inputs: self.inputs.iter().map(file).collect(),
        };
        manifest.check()?;
        let inputs = self.inputs.iter().map(|file| file.bytes.as_slice());
        let parts = std::iter::once(self.component.as_slice()).chain(inputs);
        container::encode(MAGIC, &manifest, parts)
    }
}

impl<'a> BundleView<'a> {
    /// Reads a bundle and checks every hash in it.
    ///
    /// Errors: any [`ContainerError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ContainerError> {
        let (manifest, mut rest): (Manifest, _) = container::split(MAGIC, bytes)?;
        manifest.check()?;
        let component = container::take(&mut rest, &manifest.component, "the component")?;
        let mut inputs = Vec::with_capacity(manifest.inputs.len());
        for (path, part) in manifest.inputs {
            let contents = container::take(&mut rest, &part, &path)?;
            inputs.push((path, contents));
        }
        if !rest.is_empty() {
            return Err(ContainerError::Length);
        }
        Ok(Self {
            kind: manifest.kind,
            args: manifest.args,
            env: manifest.env,
            label_keys: manifest.label_keys,
            component,
            inputs,
        })
    }
}

/// The keys of labels that a bundle wants, before its parts are hashed.
///
/// Errors: [`ContainerError`], for a manifest that [`BundleView::parse`] would refuse.
pub fn label_variables(bytes: &[u8]) -> Result<Vec<LabelVariable>, ContainerError> {
    let (manifest, _): (Manifest, _) = container::split(MAGIC, bytes)?;
    manifest.check()?;
    Ok(manifest.label_keys)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn label_key(variable: &str, service: &str) -> LabelVariable {
        LabelVariable {
            variable: variable.to_owned(),
            label: LabelName {
                owner: wire::AccountId([7; 32]),
                service: service.to_owned(),
                version: 1,
            },
            least_epoch: 2,
            master_key: [5; 96],
        }
    }

    fn bundle() -> Bundle {
        Bundle {
            kind: PayloadKind::Job,
            args: vec!["/input/script.rb".to_owned(), String::new()],
            env: vec![("LANG".to_owned(), "C.UTF-8".to_owned())],
            label_keys: vec![label_key("DISK_KEY", "disk")],
            component: b"\0asm component".to_vec(),
            inputs: vec![
                BundleFile {
                    path: "script.rb".to_owned(),
                    bytes: b"puts 1".to_vec(),
                },
                BundleFile {
                    path: "lib/empty".to_owned(),
                    bytes: Vec::new(),
                },
            ],
        }
    }

    #[test]
    fn a_bundle_comes_back_whole() {
        let bundle = bundle();
        let bytes = bundle.encode().unwrap();
        let view = BundleView::parse(&bytes).unwrap();
        assert_eq!(view.kind, bundle.kind);
        assert_eq!(view.args, bundle.args);
        assert_eq!(view.env, bundle.env);
        assert_eq!(view.label_keys, bundle.label_keys);
        assert_eq!(view.component, bundle.component);
        let inputs: Vec<(&str, &[u8])> = view.inputs.iter().map(|(p, b)| (&**p, *b)).collect();
        assert_eq!(
            inputs,
            [("script.rb", &b"puts 1"[..]), ("lib/empty", &b""[..])]
        );
    }

    #[test]
    fn a_bundle_begins_with_the_bytes_of_the_specification() {
        let bytes = bundle().encode().unwrap();
        assert_eq!(&bytes[..9], b"rf-bundl\x01");
        let manifest = u32::from_le_bytes(bytes[9..13].try_into().unwrap()) as usize;
        assert_eq!(&bytes[13 + manifest..], b"\0asm componentputs 1");
    }

    #[test]
    fn a_changed_part_is_named() {
        let bytes = bundle().encode().unwrap();
        let mut changed = bytes.to_vec();
        *changed.last_mut().unwrap() ^= 1;
        let error = BundleView::parse(&changed).err();
        assert_eq!(error, Some(ContainerError::Hash("script.rb".to_owned())));
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert_eq!(
            BundleView::parse(&longer).err(),
            Some(ContainerError::Length)
        );
    }

    #[test]
    fn refuses_to_make_what_it_would_refuse_to_read() {
        let good = bundle();
        let path = |path: &str| {
            let mut bundle = good.clone();
            bundle.inputs[0].path = path.to_owned();
            bundle
        };
        let with_env = |name: &str| Bundle {
            env: vec![(name.to_owned(), String::new())],
            ..good.clone()
        };
        let with_keys = |label_keys: Vec<LabelVariable>| Bundle {
            label_keys,
            ..good.clone()
        };
        let twice = vec![label_key("A", "disk"), label_key("A", "other")];
        for bad in [
            with_keys(twice),
            with_keys(vec![label_key("LANG", "disk")]),
            with_keys(vec![label_key("A=B", "disk")]),
            with_keys(vec![label_key("A", "Disk")]),
            with_keys(vec![label_key("A", "disk"); MAX_LABEL_KEYS + 1]),
            path("../escape"),
            path("lib/empty"),
            path("lib"),
            with_env(""),
            with_env("A=B"),
            with_env("A\0"),
            Bundle {
                args: vec![String::new(); MAX_ARGS + 1],
                ..good.clone()
            },
        ] {
            assert!(bad.encode().is_err());
        }
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_refused_or_changes_only_the_manifest(at: prop::sample::Index, bit in 0u8..8) {
            // Authenticity is the stream's; here a flip must never pass as the same bundle.
            let bytes = bundle().encode().unwrap();
            let mut changed = bytes.to_vec();
            let at = at.index(changed.len());
            changed[at] ^= 1 << bit;
            if let Ok(view) = BundleView::parse(&changed) {
                let good = bundle();
                prop_assert_eq!(view.component, good.component);
                prop_assert!(
                    view.kind != good.kind || view.args != good.args || view.env != good.env
                        || view.label_keys != good.label_keys
                        || view.inputs.iter().zip(&good.inputs).any(|(one, two)| one.0 != two.path)
                );
            }
        }

        #[test]
        fn reading_any_bytes_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..200), magic: bool) {
            if magic && bytes.len() >= 13 {
                bytes[..9].copy_from_slice(b"rf-bundl\x01");
                bytes[10..13].fill(0);
            }
            let _ = BundleView::parse(&bytes);
        }
    }
}
