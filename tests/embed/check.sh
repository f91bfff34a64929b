#!/usr/bin/env bash
# Builds a program that uses the libraries alone, and compares its numbers with those of `segcal`:
#
#   cargo build -p segcal --no-default-features && tests/embed/check.sh target/debug/segcal
set -euo pipefail
SEGCAL_PROGRAM="$(realpath "${1:?the program to compare with}")"
export SEGCAL_PROGRAM
cd "$(dirname "$0")"

# What the program alone needs must not come with the libraries.
unwanted='^(clap|clap_complete|indicatif|plotters|signal-hook|wgpu|pyo3) '
for tree in "--manifest-path ../../train/Cargo.toml --no-default-features" "--manifest-path Cargo.toml"; do
  # shellcheck disable=SC2086
  if cargo tree $tree --locked --edges normal --prefix none | grep -E "$unwanted"; then
    echo "cargo tree $tree: the libraries pull in a crate of the program" >&2
    exit 1
  fi
done

cargo test --locked --target-dir ../../target/embed
