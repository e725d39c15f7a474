"""Distillation as a recipe: run the teacher, add unlabelled texts, make and train the student."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import cast

from adaptkit.adapters.card import existing_card
from adaptkit.data.readers.options import Reading
from adaptkit.data.readers.read import read
from adaptkit.distillation.attention_maps import AttentionMapLoss
from adaptkit.distillation.distill import Distilling, add_unlabelled, check_alike, distilled
from adaptkit.distillation.feature_loss import FeatureLoss
from adaptkit.distillation.hidden_states import HiddenStateLoss
from adaptkit.distillation.next_tokens import WRITERS, NextTokens, taught
from adaptkit.distillation.students import make_shallow
from adaptkit.distillation.teacher import LOGITS, Teacher
from adaptkit.errors import AdaptkitError, unknown
from adaptkit.models.layer_map import LAYER_MAPS, layer_map
from adaptkit.models.names import load_config
from adaptkit.models.tokenizer import load_tokenizer
from adaptkit.models.untrained.shallow import depths_of
from adaptkit.models.untrained.small_networks import KINDS, make_small
from adaptkit.recipe.arguments import StudentArguments
from adaptkit.recipe.steps import Prepared
from adaptkit.recipe.unlabelled import without_labels
from adaptkit.utils.processes import is_main, log_main

FEATURE_LOSSES: dict[str, type[FeatureLoss]] = {  # by flag
    "hidden_state_weight": HiddenStateLoss,
    "attention_map_weight": AttentionMapLoss,
}


def make_student(prepared: Prepared) -> Prepared:
    """The training of a student, from a training of its task alone.

    Raises:
        AdaptkitError: there is no teacher, its labels differ, or flags contradict each other.
    """
    given = _given(prepared)
    _check(prepared, given)
    how = Distilling(given.temperature, given.hard_label_share)
    teach = _teach_writing if prepared.task.name in WRITERS else _teach_labels
    return teach(prepared, given, how)


def _given(prepared: Prepared) -> StudentArguments:
    return cast(StudentArguments, prepared.arguments)


def _check(prepared: Prepared, given: StudentArguments) -> None:
    """Refuse impossible settings before the teacher runs."""
    task = prepared.task.name
    if not given.teacher:
        raise AdaptkitError(
            "--teacher is the folder of an adapter, of a model tuned with --method full, or a "
            "file of its logits."
        )
    if given.folds:
        raise AdaptkitError(
            "distillation does not support --folds: the teacher labels only the training split. "
            "--seeds works."
        )
    small = KINDS.get(task, ())
    if sum(map(bool, (given.student, given.student_layers, given.model_name_or_path))) != 1:
        kinds = f"--student {'|'.join(small)}, " if small else ""
        raise AdaptkitError(
            f"give one student: {kinds}--student_layers N, or --model_name_or_path."
        )
    if given.student and given.student not in small:
        raise unknown(f"student of {task}", given.student, small)
    if given.student_layers:
        _check_depths(given)
    elif given.student_decoder_layers:
        raise AdaptkitError(
            "--student_decoder_layers goes with --student_layers, the layers of the encoder."
        )
    if given.augment_copies:
        raise AdaptkitError(
            "distillation does not support --augment_copies: the teacher labels the texts as "
            "they are."
        )
    if task in WRITERS and given.unlabelled_file:
        raise AdaptkitError(
            f"{task} has no labels: put the texts of --unlabelled_file into --train_file."
        )


def _check_depths(given: StudentArguments) -> None:
    """Refuse layers that a student cannot take."""
    source = _source(given)
    depths = _depths(source)
    if given.student_layers < 0 or given.student_decoder_layers < 0:
        raise AdaptkitError("--student_layers and --student_decoder_layers are numbers from 1 on.")
    if given.student_decoder_layers and len(depths) < 2:
        raise AdaptkitError(f"--student_decoder_layers: {source} has no decoder behind an encoder.")
    decoder = given.student_decoder_layers or min(given.student_layers, depths[-1])
    asked = given.student_layers, decoder
    if given.layer_map not in LAYER_MAPS and len({*asked[: len(depths)]}) > 1:
        raise AdaptkitError(
            f"--layer_map {given.layer_map}: numbers need an encoder and a decoder of one depth, "
            f"not {asked}."
        )
    for depth, count in zip(depths, asked, strict=False):
        layer_map(given.layer_map, depth, count)


def _teach_labels(prepared: Prepared, given: StudentArguments, how: Distilling) -> Prepared:
    """Prepare a student of text or word labels."""
    task, train, teacher_path = prepared.task, prepared.splits.train, Path(str(given.teacher))
    losses = _feature_losses(prepared, given)
    if teacher_path.is_dir():
        check_alike(task, Teacher.to_be(teacher_path))
    if given.unlabelled_file:
        unlabelled = read(given.unlabelled_file, Reading(wanted=(str(task.column("text")),)))
        without_labels(task, unlabelled)  # or it says what is missing
        others = [table for name, table in prepared.splits.items() if name != "train"]
        train, count = add_unlabelled(task, train, unlabelled, others)
        log_main(
            f"{count} texts of {given.unlabelled_file} without their labels; the rest of it is "
            "in the rows already"
        )
    with prepared.training.main_process_first(desc="the teacher"):
        file = prepared.output_dir / LOGITS
        if teacher_path.is_file():
            teacher = Teacher.load(teacher_path)
        elif is_main():
            teacher = Teacher.run(teacher_path, train, feature_losses=losses)
            teacher.save(file)
            log_main(
                f"the teacher's logits of {len(train)} texts are in {file}; give that file as "
                "--teacher to use them again"
            )
        else:
            teacher = Teacher.load(file)
        learner = distilled(task, teacher, how, losses)
        splits = dataclasses.replace(prepared.splits, train=train)
        prepared = dataclasses.replace(prepared, task=learner, splits=splits)
        return _with_base(prepared, given)


def _teach_writing(prepared: Prepared, given: StudentArguments, how: Distilling) -> Prepared:
    """Prepare a student that generates. Each process stores the teacher's predictions."""
    for name in FEATURE_LOSSES:
        if getattr(given, name):
            raise AdaptkitError(f"--{name} is for teachers that classify or tag.")
    teacher = NextTokens(how.temperature)
    learner = taught(prepared.task, teacher, how.hard)
    with prepared.training.main_process_first(desc="the student"):
        changed = _with_base(prepared, given)
    teacher.read(str(given.teacher), prepared.task, prepared.splits.train, given.max_seq_length)
    cache = teacher.cache
    log_main(
        f"the teacher has read {len(cache)} rows; {cache.size / 1e9:.2f} GB are kept of what it "
        "expects"
    )
    return dataclasses.replace(changed, task=learner)


def _feature_losses(prepared: Prepared, given: StudentArguments) -> list[FeatureLoss]:
    """The requested feature losses.

    Raises:
        AdaptkitError: the student has no such features, or flags contradict each other.
    """
    asked = {name: kind for name, kind in FEATURE_LOSSES.items() if getattr(given, name)}
    if not asked:
        return []
    part = given.method != "full" or given.train not in ("adapter", "full")
    reasons = {
        "a teacher that runs, not a file of its logits": Path(str(given.teacher)).is_file(),
        "a Transformer as student": bool(given.student),
        "a student whose own weights all train (--method full)": part,
        "one process": prepared.training.world_size > 1,
        "no --search": bool(given.search),
    }
    if broken := [need for need, is_broken in reasons.items() if is_broken]:
        raise AdaptkitError(
            f"{' and '.join(f'--{name}' for name in asked)} needs {', '.join(broken)}."
        )
    teacher = str(existing_card(Path(str(given.teacher))).base)
    for model in (teacher, given.model_name_or_path or teacher):
        if load_config(model).is_encoder_decoder:
            raise AdaptkitError(
                f"{model} has an encoder and a decoder; feature losses need one stack of layers."
            )
    shallow = given.student_layers or _depths(str(given.model_name_or_path))[0]
    layers = layer_map(given.layer_map, _depths(teacher)[0], shallow)
    return [kind(layers, getattr(given, name)) for name, kind in asked.items()]


def _depths(model: str) -> list[int]:
    """The number of layers of a model's stacks.

    Raises:
        AdaptkitError: the model has none.
    """
    config = load_config(model)
    if not (depths := depths_of(config)):
        raise AdaptkitError(
            f"{model} ({config.model_type}) has no layers that a student could take or learn from."
        )
    return depths


def _source(given: StudentArguments) -> str:
    """The model whose layers or tokenizer the student takes."""
    teacher = Path(str(given.teacher))
    source = given.teacher_base or (existing_card(teacher).base if teacher.is_dir() else None)
    if source is None:
        raise AdaptkitError(
            "--teacher is a file of logits: say with --teacher_base whose layers or tokenizer "
            "the student takes."
        )
    return source


def _with_base(prepared: Prepared, given: StudentArguments) -> Prepared:
    """The student's base if it is made here, else the named one."""
    folder, task, training = prepared.output_dir / "base", prepared.task, prepared.training
    if given.model_name_or_path:
        return prepared
    source = _source(given)
    prepared = dataclasses.replace(prepared, base=str(folder))
    resumed = training.resume_from_checkpoint and (folder / "config.json").is_file()
    if not is_main() or resumed:
        return prepared
    if given.student:
        tokenizer = load_tokenizer(source)
        make_small(given.student, tokenizer, len(task.labels), folder, training.seed, task.name)
        return prepared
    head = task.auto_class if task.name in WRITERS else None
    mixed = make_shallow(
        source,
        num_layers=given.student_layers,
        folder=folder,
        layers=given.layer_map,
        seed=training.seed,
        head=head,
        decoder_layers=given.student_decoder_layers or None,
    )
    depths = [given.student_layers, given.student_decoder_layers]
    shown = " and ".join(str(depth) for depth in depths if depth)
    log_main(f"student: {shown} layers ({given.layer_map}) of {source}; {mixed}")
    return prepared
