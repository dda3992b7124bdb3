"""Write a model that says nothing of sense, small enough for any engine: `python tiny_model.py FOLDER`.

It needs `torch`, `transformers` and `tokenizers`, as vLLM's environment has them, and downloads nothing.
"""

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


def main() -> None:
    """Write weights, drawn from a fixed seed, and a tokenizer of bytes."""
    folder = Path(sys.argv[1])
    words = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={word: at for at, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = {"bos_token": words[0], "eos_token": words[1]}
    written = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks)
    written.chat_template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    written.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


if __name__ == "__main__":
    main()
