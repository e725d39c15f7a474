"""Students that are made of their teachers."""

import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM

from adaptkit import load_tokenizer
from adaptkit.distillation.students import make_shallow
from adaptkit.models.untrained.shallow import depths_of
from tests.tiny import tiny


def test_a_student_of_a_translator_has_its_bias_of_logits_and_its_way_to_write(tmp_path):
    config = AutoConfig.for_model(
        "marian",
        **{
            name: value
            for name, value in tiny("marian").config.to_diff_dict().items()
            if name != "model_type"
        },
    )
    source = AutoModelForSeq2SeqLM.from_config(config)
    torch.nn.init.normal_(source.final_logits_bias)
    source.generation_config.num_beams = 3
    source.save_pretrained(tmp_path / "source")
    (tmp_path / "tokenizer").mkdir()
    load_tokenizer("all-MiniLM-L6-v2").save_pretrained(tmp_path / "source")
    mixed = make_shallow(
        str(tmp_path / "source"),
        depths_of(config)[0],
        tmp_path / "same",
        head="AutoModelForSeq2SeqLM",
    )
    assert not mixed.left
    student = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "same")
    assert student.generation_config.num_beams == 3
    ids = torch.tensor([[5, 6, 7, 2]])
    with torch.no_grad():
        logits = [
            model.eval()(input_ids=ids, decoder_input_ids=ids).logits for model in (source, student)
        ]
    assert torch.equal(*logits)
