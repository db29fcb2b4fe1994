"""Random PEFT LoRA adapters for benches and tests of the daemon: no torch, no training."""
import json
import struct

import numpy


def module_shapes(config):
    """(path, out, in) of the seven projections of each layer, from a base model's config.json."""
    hidden, ffn = config['hidden_size'], config['intermediate_size']
    head = config.get('head_dim') or hidden // config['num_attention_heads']
    q, kv = config['num_attention_heads'] * head, config['num_key_value_heads'] * head
    layer = [('self_attn.q_proj', q, hidden), ('self_attn.k_proj', kv, hidden), ('self_attn.v_proj', kv, hidden),
             ('self_attn.o_proj', hidden, q), ('mlp.gate_proj', ffn, hidden), ('mlp.up_proj', ffn, hidden),
             ('mlp.down_proj', hidden, ffn)]
    return [(f'model.layers.{i}.{path}', out, inner) for i in range(config['num_hidden_layers'])
            for path, out, inner in layer]


def rank_for(shapes, target_bytes):
    """The rank whose bf16 adapter on all of `shapes` is about so many bytes."""
    per_rank = 2 * sum(out + inner for _, out, inner in shapes)
    return max(1, round(target_bytes / per_rank))


def bf16(values):
    """float32 values as bfloat16 bytes (rounded towards zero)."""
    return (values.astype(numpy.float32).view(numpy.uint32) >> 16).astype(numpy.uint16).tobytes()


def write_adapter(directory, shapes, rank, seed):
    """Writes one; returns its bytes of weights."""
    random = numpy.random.default_rng(seed)
    header, chunks, at = {}, [], 0
    for path, out, inner in shapes:
        for name, rows, cols in (('lora_A', rank, inner), ('lora_B', out, rank)):
            data = bf16(random.standard_normal((rows, cols)) * (0.5 / cols ** 0.5 if name == 'lora_A' else 0.05))
            header[f'base_model.model.{path}.{name}.weight'] = {
                'dtype': 'BF16', 'shape': [rows, cols], 'data_offsets': [at, at + len(data)]}
            chunks.append(data)
            at += len(data)
    directory.mkdir(parents=True)
    text = json.dumps(header).encode()
    (directory / 'adapter_model.safetensors').write_bytes(struct.pack('<Q', len(text)) + text + b''.join(chunks))
    (directory / 'adapter_config.json').write_text(json.dumps({
        'peft_type': 'LORA', 'r': rank, 'lora_alpha': rank, 'bias': 'none', 'task_type': 'CAUSAL_LM',
        'target_modules': sorted({path.rsplit('.', 1)[1] for path, _, _ in shapes})}))
    return at


def write_bad_adapters(directory, shapes, count):
    """Adapters that must be refused, each in one of five ways. Returns their names."""
    names = []
    for i in range(count):
        name = f'bad{i:02}'
        path = directory / name
        write_adapter(path, shapes, rank=2, seed=1000 + i)
        tensors = path / 'adapter_model.safetensors'
        data = bytearray(tensors.read_bytes())
        if i % 5 == 0:
            data = data[:len(data) // 2]  # cut off
        elif i % 5 == 1:
            data[-2:] = b'\x80\x7f'  # an infinity
        elif i % 5 == 2:
            data[8:10] = b'xx'  # no JSON
        elif i % 5 == 3:
            (path / 'adapter_config.json').write_text('{"peft_type": "LORA", "r": 3, "lora_alpha": 1}')  # other shapes
        else:
            data[:8] = b'\xff' * 8  # a header of all there is
        tensors.write_bytes(data)
        names.append(name)
    return names
