"""Weights trained elsewhere as safetensors for `segcal train init=FILE`.

    python tests/peers/convert_weights.py CHECKPOINT OUT.safetensors

CHECKPOINT is a PyTorch file (nnU-Net's checkpoint_final.pth, MONAI's or the papers' state_dict), or the npz of R50+ViT-B_16 by
its JAX names, for TransUNet; that file lacks the decoder and the head, which are taken from a third argument, a
safetensors file of a whole network (such as one that segcal wrote). Needs numpy, safetensors and, for PyTorch files, torch.
"""

import re
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

# The same tensors under a second name, and prefixes of wrappers.
ALIASES = re.compile(r"(^|\.)(skip_layers|all_modules)\.|^decoder\.encoder\.")
PREFIXES = ("_orig_mod.", "module.", "net.")


def canonical(name):
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def from_torch(path):
    import torch

    state = torch.load(path, map_location="cpu", weights_only=False)
    for key in ("network_weights", "state_dict", "model"):
        if isinstance(state, dict) and key in state and isinstance(state[key], dict):
            state = state[key]
    named = {canonical(name): value for name, value in state.items()}
    kept = {name: value for name, value in named.items() if not ALIASES.search(name)}
    return {name: np.ascontiguousarray(value.float().numpy()) for name, value in kept.items()}


def conv(kernel):
    return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))


def from_jax(path):
    source, out = np.load(path), {}
    net = "transformer.embeddings.hybrid_model"
    out[f"{net}.root.conv.weight"] = conv(source["conv_root/kernel"])
    out |= {f"{net}.root.gn.{k}": source[f"gn_root/{j}"].ravel() for k, j in (("weight", "scale"), ("bias", "bias"))}
    for key in source.files:
        match = re.fullmatch(r"block(\d)/unit(\d+)/(conv\d|conv_proj|gn\d|gn_proj)/(kernel|scale|bias)", key)
        if match:
            block, unit, layer, kind = match.groups()
            layer = layer.replace("conv_proj", "downsample")
            name = f"{net}.body.block{block}.unit{unit}.{layer}.{'bias' if kind == 'bias' else 'weight'}"
            out[name] = conv(source[key]) if kind == "kernel" else source[key].ravel()
    out["transformer.embeddings.patch_embeddings.weight"] = conv(source["embedding/kernel"])
    out["transformer.embeddings.patch_embeddings.bias"] = source["embedding/bias"]
    out["transformer.embeddings.position_embeddings"] = source["Transformer/posembed_input/pos_embedding"]
    layers = {re.match(r"Transformer/encoderblock_(\d+)/", key) for key in source.files} - {None}
    for number in {match.group(1) for match in layers}:
        out |= transformer_layer(source, f"Transformer/encoderblock_{number}", f"transformer.encoder.layer.{number}")
    out |= norm(source, "Transformer/encoder_norm", "transformer.encoder.encoder_norm")
    return out


def norm(source, theirs, ours):
    return {f"{ours}.weight": source[f"{theirs}/scale"], f"{ours}.bias": source[f"{theirs}/bias"]}


def transformer_layer(source, theirs, ours):
    out = norm(source, f"{theirs}/LayerNorm_0", f"{ours}.attention_norm")
    out |= norm(source, f"{theirs}/LayerNorm_2", f"{ours}.ffn_norm")
    for part in ("query", "key", "value", "out"):
        kernel = source[f"{theirs}/MultiHeadDotProductAttention_1/{part}/kernel"]
        width = kernel.shape[-1] if part == "out" else kernel.shape[0]
        out[f"{ours}.attn.{part}.weight"] = np.ascontiguousarray(kernel.reshape(width, width).T)
        out[f"{ours}.attn.{part}.bias"] = source[f"{theirs}/MultiHeadDotProductAttention_1/{part}/bias"].ravel()
    for dense, layer in (("Dense_0", "fc1"), ("Dense_1", "fc2")):
        out[f"{ours}.ffn.{layer}.weight"] = np.ascontiguousarray(source[f"{theirs}/MlpBlock_3/{dense}/kernel"].T)
        out[f"{ours}.ffn.{layer}.bias"] = source[f"{theirs}/MlpBlock_3/{dense}/bias"]
    return out


def main(source, out, rest=None):
    tensors = from_jax(source) if source.endswith(".npz") else from_torch(source)
    if rest:
        tensors = load_file(rest) | tensors
    tensors = {name: value for name, value in tensors.items() if not name.endswith(".num_batches_tracked")}
    save_file(tensors, out, metadata={"format": "pt"})
    print(f"{len(tensors)} tensors")


main(*sys.argv[1:])
