"""What `recipes/distill.py` does before a student trains: the teacher runs, unlabelled texts come in, the student is made."""

from __future__ import annotations

from pathlib import Path

from adaptkit.base import load_config, load_tokenizer
from adaptkit.cards import existing_card
from adaptkit.errors import AdaptkitError, unknown
from adaptkit.launch import IS_MAIN, say
from adaptkit.readers import Reading, read
from adaptkit.run import Run
from adaptkit.transfer.attention_maps import AttentionMaps
from adaptkit.transfer.distill import LOGITS, Distilling, Teacher, add_unlabelled, check_alike, distilled
from adaptkit.transfer.inside import HiddenStates
from adaptkit.transfer.mix import LAYER_MAPS, layer_map
from adaptkit.transfer.next_tokens import WRITERS, NextTokens, taught
from adaptkit.transfer.pull import Pull
from adaptkit.transfer.students import KINDS, depths_of, make_shallow, make_small

PULLS: dict[str, type[Pull]] = {"hidden_state_weight": HiddenStates, "attention_map_weight": AttentionMaps}  # by flag
RATES = {"layers": 1e-4, "small": 1e-3}  # all weights of a network from pretrained layers; and from random ones


def prepare(run: Run) -> None:
    """Make a student of a teacher out of a run of a task that `GOLD` or `WRITERS` names.

    Raises:
        AdaptkitError: no teacher, one for other labels, or flags that do not go together.
    """
    given = run.arguments
    _check(run)
    how = Distilling(given.temperature, given.hard_label_share)
    if run.task.name in WRITERS:
        _teach_writing(run, how)
    else:
        _teach_labels(run, how)


def _check(run: Run) -> None:
    """Refuse what cannot be done, before the teacher runs."""
    given, task = run.arguments, run.task.name
    if not given.teacher:
        raise AdaptkitError(
            "--teacher wants the folder of an adapter, of a model tuned with --method full, or a file of its logits."
        )
    if given.folds:
        raise AdaptkitError("the teacher speaks of the training rows alone, so --folds does not go with distilling; --seeds does.")
    small = KINDS.get(task, ())
    if sum(map(bool, (given.student, given.student_layers, given.model_name_or_path))) != 1:
        kinds = f"--student {'|'.join(small)}, " if small else ""
        raise AdaptkitError(f"one student is wanted: {kinds}--student_layers N, or --model_name_or_path.")
    if given.student and given.student not in small:
        raise unknown(f"student of {task}", given.student, small)
    if given.student_layers:
        _check_depths(run)
    elif given.student_decoder_layers:
        raise AdaptkitError("--student_decoder_layers goes with --student_layers, the layers of the encoder.")
    if given.augment_copies:
        raise AdaptkitError("a student learns what a teacher says of the texts that it has read: no --augment_copies.")
    if task in WRITERS and given.unlabelled_file:
        raise AdaptkitError(f"{task} has no labels: put the texts of --unlabelled_file into --train_file.")


def _check_depths(run: Run) -> None:
    """Refuse layers that a student cannot take."""
    given, source = run.arguments, _source(run)
    depths = _depths(source)
    if given.student_layers < 0 or given.student_decoder_layers < 0:
        raise AdaptkitError("--student_layers and --student_decoder_layers are numbers from 1 on.")
    if given.student_decoder_layers and len(depths) < 2:
        raise AdaptkitError(f"--student_decoder_layers: {source} has no decoder behind an encoder.")
    wanted = given.student_layers, given.student_decoder_layers or min(given.student_layers, depths[-1])
    if given.layer_map not in LAYER_MAPS and len({*wanted[: len(depths)]}) > 1:
        raise AdaptkitError(f"--layer_map {given.layer_map}: numbers want an encoder and a decoder of one depth, not {wanted}.")
    for depth, count in zip(depths, wanted, strict=False):
        layer_map(given.layer_map, depth, count)


def _teach_labels(run: Run, how: Distilling) -> None:
    """A student of labels: of texts, or of words."""
    given, train, task, pulls = run.arguments, run.splits.train, run.task, _pulls(run)
    if Path(given.teacher).is_dir():
        check_alike(task, Teacher.to_be(given.teacher))
    if given.unlabelled_file:
        unlabelled = read(given.unlabelled_file, Reading(wanted=(task.column("text"),)))
        others = [table for name, table in run.splits.items() if name != "train"]
        train, count = add_unlabelled(task, train, unlabelled, others)
        say(f"{count} texts of {given.unlabelled_file} without their labels; the rest of it is in the rows already")
    with run.training.main_process_first(desc="the teacher"):
        file = run.output_dir / LOGITS
        if Path(given.teacher).is_file():
            teacher = Teacher.load(given.teacher)
        elif IS_MAIN:
            teacher = Teacher.run(given.teacher, train, pulls=pulls)
            teacher.save(file)
            say(f"the teacher's logits of {len(train)} texts are in {file}; give that file as --teacher to use them again")
        else:
            teacher = Teacher.load(file)
        run.task = distilled(task, teacher, how, pulls)
        run.splits.train = train
        _make_student(run)


def _teach_writing(run: Run, how: Distilling) -> None:
    """A student of a model that writes. Each process keeps what the teacher expects."""
    given = run.arguments
    for name in PULLS:
        if getattr(given, name):
            raise AdaptkitError(f"--{name} is for teachers that classify or tag.")
    teaching = taught(run.task, NextTokens(how.temperature), how.hard)
    with run.training.main_process_first(desc="the student"):
        _make_student(run)
    teaching.teacher.read(given.teacher, run.task, run.splits.train, run.max_length)
    run.task = teaching
    kept = teaching.teacher.kept
    say(f"the teacher has read {len(kept)} rows; {kept.size / 1e9:.2f} GB are kept of what it expects")


def _pulls(run: Run) -> list[Pull]:
    """What of the teacher's inside the student is to learn.

    Raises:
        AdaptkitError: a student that has none of it, or flags that do not go together.
    """
    given = run.arguments
    asked = {name: kind for name, kind in PULLS.items() if getattr(given, name)}
    if not asked:
        return []
    reasons = {
        "a teacher that runs, not a file of its logits": Path(given.teacher).is_file(),
        "a Transformer as student": bool(given.student),
        "a student whose own weights all train (--method full)": given.method != "full" or given.train not in ("adapter", "full"),
        "one process": run.training.world_size > 1,
        "no --search": bool(given.search),
    }
    if wrong := [wish for wish, broken in reasons.items() if broken]:
        raise AdaptkitError(f"{' and '.join(f'--{name}' for name in asked)} wants {', '.join(wrong)}.")
    teacher = str(existing_card(Path(given.teacher)).base)
    for model in (teacher, given.model_name_or_path or teacher):
        if load_config(model).is_encoder_decoder:
            raise AdaptkitError(f"{model} has an encoder and a decoder; what pulls a student's inside wants one stack of layers.")
    shallow = given.student_layers or _depths(given.model_name_or_path)[0]
    layers = layer_map(given.layer_map, _depths(teacher)[0], shallow)
    return [kind(layers, getattr(given, name)) for name, kind in asked.items()]


def _depths(model: str) -> list[int]:
    """How many layers the stacks of a model have.

    Raises:
        AdaptkitError: it has none.
    """
    config = load_config(model)
    if not (depths := depths_of(config)):
        raise AdaptkitError(f"{model} ({config.model_type}) has no layers that a student could take or be drawn to.")
    return depths


def _source(run: Run) -> str:
    """The model whose layers or tokenizer the student takes."""
    given = run.arguments
    source = given.teacher_base or (existing_card(Path(given.teacher)).base if Path(given.teacher).is_dir() else None)
    if source is None:
        raise AdaptkitError("--teacher is a file of logits: say with --teacher_base whose layers or tokenizer the student takes.")
    return source


def _make_student(run: Run) -> None:
    """The student's base where it is made here; else the one that is named."""
    given, folder = run.arguments, run.output_dir / "base"
    if given.model_name_or_path:
        return
    source = _source(run)
    run.base = str(folder)
    if not IS_MAIN or (run.training.resume_from_checkpoint and (folder / "config.json").is_file()):
        return
    if given.student:
        make_small(given.student, load_tokenizer(source), len(run.task.labels), folder, run.training.seed, run.task.name)
    else:
        layers = given.layer_map
        head = run.task.auto_class if run.task.name in WRITERS else None
        depths = {"num_layers": given.student_layers, "decoder_layers": given.student_decoder_layers or None}
        mixed = make_shallow(source, folder=folder, layers=layers, seed=run.training.seed, head=head, **depths)
        say(f"student: {' and '.join(str(depth) for depth in depths.values() if depth)} layers ({layers}) of {source}; {mixed}")
