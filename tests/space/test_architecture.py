import copy
import dataclasses
import functools
import itertools
import json
import operator
import os
import re

import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from larq_nas import zoo
from larq_nas.methods import bars, bats, bnas, dms
from larq_nas.methods.bnas import OPERATIONS
from larq_nas.space.architecture import Architecture, ArchitectureError, Cell, Edge, Node, Stage
from larq_nas.space.stages import round_widths

# Another process may hold the CPU: how long an example takes says nothing.
settings = hypothesis_settings(deadline=None, max_examples=60)

MAX_BYTES = 1 << 20


def edge(source, *operations):
    return Edge(source, operations)


# Undecided in all four ways: operations, edges, widths, depths.
SPACE = Architecture(
    "bnas",
    (
        Cell(
            "normal",
            (
                Node((edge(0, "none", "bin_conv_3x3"), edge(1, *OPERATIONS[:3])), 2),
                Node((edge(0, "none"), edge(1, "none", "bin_conv_5x5"), edge(2, "none", "bin_conv_3x3")), 2),
                Node((edge(3, "none"),), 1),
            ),
        ),
        Cell("reduce", (Node((edge(0, "max_pool_3x3"),), 1),)),
    ),
    (Stage("normal", (16, 24), (1, 2)), Stage("normal", (32,), (0,), "reduce")),
)
SPACE_SIZE = (2 * 3) * (1 * 2 + 1 * 2 + 2 * 2) * (2 * 2)


@st.composite
def architectures(draw, decided=False, distinct_sources=False, most=4):
    """Valid architectures, of cells of a few nodes."""
    candidates = 1 if decided else most

    def cell(name):
        nodes = []
        for index in range(draw(st.integers(1, 3))):
            sources = draw(st.lists(st.integers(0, index + 1), min_size=1, max_size=most, unique=distinct_sources))
            operations = st.lists(st.sampled_from(OPERATIONS), min_size=1, max_size=candidates, unique=True)
            edges = tuple(Edge(source, tuple(draw(operations))) for source in sources)
            nodes.append(Node(edges, len(edges) if decided else draw(st.integers(1, len(edges)))))
        return Cell(name, tuple(nodes))

    def integers(low, high):
        return st.lists(st.integers(low, high), min_size=1, max_size=candidates, unique=True).map(tuple)

    def stage(name):
        return Stage(name, draw(integers(1, 65_536)), draw(integers(1, 99)), draw(reductions))

    names = draw(st.lists(st.from_regex("[a-z][a-z0-9_]{0,31}", fullmatch=True), min_size=1, max_size=3, unique=True))
    reductions = st.none() | st.sampled_from(names)
    stages = [stage(name) for name in names]
    if draw(st.booleans()):  # A stage of nothing but its reduction.
        stages.append(Stage(names[0], (1,), (0,), names[-1]))
    return Architecture("bnas", tuple(map(cell, names)), tuple(stages))


def genotypes(space):
    """Every genotype of a space, by brute force."""

    def nodes(node):
        for kept in itertools.combinations(node.edges, node.keep):
            for operations in itertools.product(*(edge.operations for edge in kept)):
                yield Node(tuple(Edge(e.source, (o,)) for e, o in zip(kept, operations, strict=True)), node.keep)

    def cells(cell):
        return (Cell(cell.name, chosen) for chosen in itertools.product(*map(nodes, cell.nodes)))

    def stages(stage):
        for width, depth in itertools.product(stage.widths, stage.depths):
            yield dataclasses.replace(stage, widths=(width,), depths=(depth,))

    for chosen in itertools.product(itertools.product(*map(cells, space.cells)), *map(stages, space.stages)):
        yield Architecture(space.template, chosen[0], chosen[1:])


# --- values --------------------------------------------------------------------------------------------------


@settings
@given(architectures())
def test_json_round_trip_gives_the_same_value(architecture):
    copy = Architecture.from_json(architecture.to_json())
    assert copy == architecture and hash(copy) == hash(architecture)


def test_provenance_goes_through_json_and_makes_no_other_architecture():
    plain = SPACE.sample(0)
    known = dataclasses.replace(plain, provenance={"flags": {"seed": "0"}, "result": {"loss": 1.5}})
    assert known == plain and hash(known) == hash(plain)
    assert "provenance" not in json.loads(plain.to_json())
    assert Architecture.from_json(known.to_json()).provenance == known.provenance
    with pytest.raises(ArchitectureError, match="^provenance: is not an object"):
        dataclasses.replace(plain, provenance="mine")


def test_json_is_an_object_with_a_schema_number():
    value = json.loads(SPACE.to_json())
    assert value["schema"] == 2
    assert list(value["cells"]) == ["normal", "reduce"]


OPTIONS_OF_SCHEMA_1 = {
    "bars_no_shortcut": {"cell_shortcut": False},
    "bats_float_preprocess": {"preprocess": "float"},
    "bats_real": {"binarize": False},
}


@pytest.mark.parametrize("old", OPTIONS_OF_SCHEMA_1)
def test_templates_of_schema_1_are_options_today(old):
    template, options = old.partition("_")[0], OPTIONS_OF_SCHEMA_1[old]
    sample = (bars if template == "bars" else bats).space(filters=12).sample(0)
    value = json.loads(sample.to_json()) | {"schema": 1}
    assert Architecture.from_json(json.dumps(value)) == sample
    read = Architecture.from_json(json.dumps(value | {"template": old}))
    assert read == dataclasses.replace(sample, options=options) != sample
    assert json.loads(read.to_json())["options"] == options
    refused(json.dumps(value | {"schema": 2, "template": old}), f"template: '{old}' is unknown; accepted: bnas, bars")
    refused(json.dumps(value | {"options": options}), "options: schema 1 has none; write schema 2")


@pytest.mark.parametrize("options", [{}, {"preprocess": "float"}, {"preprocess": "float", "binarize": False}])
def test_options_go_through_json(options):
    space = dataclasses.replace(bats.space(3, 12), options=options)
    copy = Architecture.from_json(space.to_json())
    assert copy == space and hash(copy) == hash(space)
    assert json.loads(space.to_json()).get("options", {}) == options
    assert {name: copy.option(name) for name in options} == options
    assert str(copy).startswith("options: ") == bool(options)


def test_options_of_their_defaults_make_no_other_architecture():
    space, values = bats.space(3, 12), {"preprocess": "binary", "binarize": True}
    same = dataclasses.replace(space, options=values)
    assert same == space and {name: same.option(name) for name in values} == values
    pairs = (("binarize", False), ("preprocess", "float"))
    assert dataclasses.replace(space, options=pairs[::-1]).options == pairs


@pytest.mark.parametrize(
    ("template", "options", "said"),
    [
        ("bats", {"groups": 2}, "options of template bats: 'groups' is unknown; accepted: preprocess, binarize"),
        ("bars", {"binarize": False}, "options of template bars: 'binarize' is unknown; accepted: cell_shortcut"),
        ("bnas", {"binarize": False}, "options of template bnas: 'binarize' is unknown; accepted: skip"),
        ("resnet18", {"binarize": False}, "options of template resnet18: 'binarize' is unknown; accepted: none"),
        ("bats", {"binarize": 0}, "options.binarize: 0 is unknown; accepted: True, False"),
        ("bats", {"binarize": None}, "options.binarize: None is unknown; accepted: True, False"),
        ("bats", {"preprocess": "real"}, "options.preprocess: 'real' is unknown; accepted: 'binary', 'float'"),
        ("bats", {"preprocess": ["float"]}, "options.preprocess: ['float'] is unknown; accepted: 'binary', 'float'"),
        ("bats", ["binarize"], "options: ['binarize'] is not an object"),
        ("bats", None, "options: None is not an object"),
    ],
)
def test_options_that_the_template_does_not_take_are_refused(template, options, said):
    spaces = {"bats": bats.space(), "bars": bars.space(), "bnas": bnas.space(), "resnet18": dms.space("resnet18")}
    space = spaces[template]
    refused(json.dumps(json.loads(space.to_json()) | {"options": options}), said)
    with pytest.raises(ArchitectureError, match="^options"):
        dataclasses.replace(space, options=options)


def test_options_that_the_template_does_not_have_cannot_be_asked_for():
    with pytest.raises(ArchitectureError, match="options of template bats: 'skip' is unknown; accepted: preprocess"):
        bats.space(3, 12).option("skip")


def test_json_by_hand_may_leave_out_the_reduction():
    value = json.loads(SPACE.to_json())
    del value["stages"][0]["reduction"]
    assert Architecture.from_json(json.dumps(value)) == SPACE


@settings
@given(architectures(decided=True))
def test_genotype_is_decided_holds_itself_and_samples_itself(genotype):
    assert genotype.decided
    assert genotype.size == 1
    assert genotype.sample(seed=3) == genotype


def undecided(**candidates):
    node = Node((edge(0, *candidates.get("operations", ("none",))), edge(1, "none")), candidates.get("keep", 2))
    stage = Stage("normal", candidates.get("widths", (8,)), candidates.get("depths", (1,)))
    return Architecture("bnas", (Cell("normal", (node,)),), (stage,))


@pytest.mark.parametrize(
    "candidates",
    [{"operations": ("none", "bin_conv_3x3")}, {"keep": 1}, {"widths": (8, 16)}, {"depths": (1, 2)}],
    ids=lambda candidates: next(iter(candidates)),
)
def test_any_choice_that_is_left_makes_a_space(candidates):
    assert undecided().decided
    assert not undecided(**candidates).decided
    assert undecided(**candidates).size == 2


def test_size_counts_what_brute_force_finds():
    found = list(genotypes(SPACE))
    assert SPACE.size == SPACE_SIZE == len(set(found))
    assert all(genotype.decided for genotype in found)


# Two edges of one source may lead to the same genotype in two ways, both of which `size` counts.
@hypothesis_settings(settings, max_examples=50)
@given(architectures(distinct_sources=True, most=2))
def test_size_counts_what_brute_force_finds_in_any_small_space(space):
    assume(space.size <= 500)
    assert space.size == len(set(genotypes(space)))


def test_same_seed_draws_the_same_genotype_and_seeds_cover_the_space():
    drawn = [SPACE.sample(seed) for seed in range(3000)]
    assert drawn[:50] == [SPACE.sample(seed) for seed in range(50)]
    # Decided, inside the space, and all of it: brute force yields nothing else.
    assert set(drawn) == set(genotypes(SPACE))
    # Equally likely: half of the draws each, within many standard deviations.
    wide = sum(genotype.stages[0].widths == (24,) for genotype in drawn)
    assert 0.4 < wide / len(drawn) < 0.6


@settings
@given(architectures(), st.integers(0, 2**32))
def test_sample_takes_only_candidates(space, seed):
    genotype = space.sample(seed)
    assert genotype.decided
    for cell, chosen in zip(space.cells, genotype.cells, strict=True):
        for node, kept in zip(cell.nodes, chosen.nodes, strict=True):
            offered = {(e.source, operation) for e in node.edges for operation in e.operations}
            assert {(e.source, *e.operations) for e in kept.edges} <= offered and len(kept.edges) == node.keep
    for stage, chosen in zip(space.stages, genotype.stages, strict=True):
        assert set(chosen.widths) <= set(stage.widths) and set(chosen.depths) <= set(stage.depths)
        assert (chosen.cell, chosen.reduction) == (stage.cell, stage.reduction)


def test_architecture_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SPACE.template = "other"


@pytest.mark.parametrize("field", ["cells", "stages"])
def test_lists_are_refused_where_tuples_keep_the_value_hashable(field):
    with pytest.raises(ArchitectureError, match=f"^{field}: is not a tuple"):
        dataclasses.replace(SPACE, **{field: list(getattr(SPACE, field))})


def test_edges_come_node_by_node_and_cells_by_name():
    assert [e.source for e in SPACE.cell("normal").edges] == [0, 1, 0, 1, 2, 3]


def test_an_unknown_cell_is_refused_with_the_known_ones():
    with pytest.raises(ArchitectureError, match="^cells: 'normale' is unknown; accepted: normal, reduce$"):
        SPACE.cell("normale")


def test_text_shows_candidates_kept_edges_and_stages():
    assert str(SPACE).splitlines() == [
        "normal cell",
        "  2 = none|bin_conv_3x3(0) + none|max_pool_3x3|avg_pool_3x3(1)",
        "  3 = none(0) + none|bin_conv_5x5(1) + none|bin_conv_3x3(2)   (keeps 2)",
        "  4 = none(3)",
        "reduce cell",
        "  2 = max_pool_3x3(0)",
        "stage 0: 1|2 x normal, 16|24 filters",
        "stage 1: reduce + 0 x normal, 32 filters",
    ]


# --- refusals ------------------------------------------------------------------------------------------------

NODES = ("cells", "normal", "nodes")
EDGE = (*NODES, 2, "edges", 0)
MISSING = object()


def place(path):
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)[1:]


def replaced(path, value):
    """SPACE as JSON, with another value at a path."""
    document = json.loads(SPACE.to_json())
    parent = document
    for step in path[:-1]:
        parent = parent[step]
    if value is MISSING:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return json.dumps(document)


def refused(text, start):
    with pytest.raises(ArchitectureError, match="^" + re.escape(start)) as caught:
        Architecture.from_json(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_edge_from_a_later_node_is_refused_by_its_exact_place():
    with pytest.raises(ArchitectureError) as caught:
        Architecture.from_json(replaced((*EDGE, "source"), 5))
    assert str(caught.value) == "cells.normal.nodes[2].edges[0].source: 5 is not an earlier state"


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        # 4 is the node's own state.
        *(((*EDGE, "source"), value, f"{value} is not an earlier state") for value in (4, -1, 10**30)),
        *(((*EDGE, "source"), value, f"{value!r} is not an integer") for value in (True, 1.0, "0", None, [0])),
        ((*EDGE, "operations"), [], "has no candidates"),
        ((*EDGE, "operations"), ["none", "none"], "lists a candidate twice"),
        *(((*EDGE, "operations"), value, f"{value!r} is not a list") for value in ("none", None, {}, 1)),
        *(
            ((*EDGE, "operations", 0), value, f"{value!r} is unknown; accepted: none, max_pool")
            for value in ("conv", "", None, 1, ["none"], {})
        ),
        *(((*NODES, 1, "keep"), value, f"{value} is not between 1 and 3") for value in (0, 4)),
        *(((*NODES, 1, "keep"), value, f"{value!r} is not an integer") for value in (True, 2.0, "2", None)),
        ((*NODES, 1, "edges"), [], "has 0 edges, not 1 to 128"),
        ((*NODES, 1, "edges"), [{"source": 0, "operations": ["none"]}] * 129, "has 129 edges, not 1 to 128"),
        ((*NODES, 1, "edges"), {}, "{} is not a list"),
        (EDGE, [], "[] is not an object"),
        ((*NODES, 1), None, "None is not an object"),
        (NODES, [], "has 0 nodes, not 1 to 64"),
        (NODES, [{"edges": [{"source": 0, "operations": ["none"]}], "keep": 1}] * 65, "has 65 nodes, not 1 to 64"),
        (NODES, "nodes", "'nodes' is not a list"),
        (("cells", "normal"), [], "[] is not an object"),
        (("cells",), {}, "has 0 entries"),
        (("cells",), [], "[] is not an object"),
        (("stages",), [], "has 0 entries"),
        (("stages",), {}, "{} is not a list"),
        (("stages", 0), None, "None is not an object"),
        *((("stages", 1, "cell"), value, f"{value!r} is unknown; accepted: normal") for value in ("x", None, 1)),
        *(
            (("stages", 1, "reduction"), value, f"{value!r} is unknown")
            for value in ("other", "", False, 1, ["reduce"])
        ),
        (("stages", 0, "widths"), [], "has no candidates"),
        (("stages", 0, "widths"), [16, 16], "lists a candidate twice"),
        *((("stages", 0, "widths"), value, f"{value!r} is not a list") for value in (16, "16", None)),
        *((("stages", 0, "widths", 1), value, f"{value} is not between 1 and 65536") for value in (0, -1, 65_537)),
        *(
            (("stages", 0, "widths", 1), value, f"{value!r} is not an integer")
            for value in (True, 16.0, "16", None, [16])
        ),
        *((("stages", 0, "depths", 1), value, f"{value} is not between 0 and 1000") for value in (-1, 1001)),
        (("stages", 0, "depths"), [], "has no candidates"),
        *((("template",), value, f"{value!r} is unknown; accepted: bnas") for value in ("darts", None, 1, ["bnas"])),
        *(
            (("schema",), value, f"{value!r} is unknown; this version reads 1 and 2")
            for value in (3, 0, "1", True, 1.0, None)
        ),
    ],
)
def test_wrong_value_is_refused_by_its_place(path, value, problem):
    refused(replaced(path, value), f"{place(path)}: {problem}")


def test_cell_that_no_stage_uses_is_refused():
    refused(replaced(("stages", 1, "reduction"), None), "cells.reduce: no stage uses it")


def test_a_depth_of_0_can_be_searched_and_sampled():
    space = Architecture.from_json(replaced(("stages", 0, "depths"), [0, 1]))
    assert {space.sample(seed).stages[0].depths for seed in range(20)} == {(0,), (1,)}


def test_more_cells_than_a_network_can_have_are_refused():
    refused(replaced(("stages", 0, "depths"), [1000]), "stages: hold 1001 cells; at most 1000")


@pytest.mark.parametrize("name", ["Normal", "", "a" * 33, "é", "two words", "1st", "a\n"])
def test_name_of_a_cell_is_plain(name):
    value = json.loads(SPACE.to_json())
    value["cells"][name] = value["cells"].pop("normal")
    refused(json.dumps(value), "cells: ")


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ((), "JSON"),
        (("cells", "normal"), "cells.normal"),
        ((*NODES, 2), place((*NODES, 2))),
        (EDGE, place(EDGE)),
        (("stages", 0), "stages[0]"),
    ],
)
def test_unknown_key_is_refused_and_the_known_ones_are_named(path, where):
    refused(replaced((*path, "extra"), 1), f"{where}: unknown key 'extra'; accepted: ")


@pytest.mark.parametrize(
    "path",
    [
        ("schema",),
        ("template",),
        ("cells",),
        ("stages",),
        ("cells", "normal", "nodes"),
        (*NODES, 2, "edges"),
        (*NODES, 2, "keep"),
        (*EDGE, "source"),
        (*EDGE, "operations"),
        ("stages", 0, "cell"),
        ("stages", 0, "widths"),
        ("stages", 0, "depths"),
    ],
    ids=place,
)
def test_missing_key_is_refused_by_its_place(path):
    refused(replaced(path, MISSING), f"{place(path[:-1]) or 'JSON'}: key '{path[-1]}' is missing")


@pytest.mark.parametrize("key", ["schema", "normal", "keep", "source"])
def test_duplicate_key_is_refused(key):
    text = re.sub(rf'"{key}": ', rf'"{key}": 1, "{key}": ', SPACE.to_json(), count=1)
    refused(text, f"JSON: key '{key}' stands twice")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_not_finite_number_is_refused(value):
    refused(SPACE.to_json().replace('"keep": 2', f'"keep": {value}', 1), f"JSON: {value} is not a number")


@pytest.mark.parametrize(
    ("provenance", "said"),
    [('{"a": 1e999}', "JSON: 1e999 is not a number"), ("[" * 400 + "]" * 400, "JSON: is nested deeper than 32 levels")],
)
def test_a_provenance_that_could_not_be_written_again_is_refused(provenance, said):
    refused(SPACE.to_json().replace('"schema"', f'"provenance": {provenance}, "schema"', 1), said)


# Python reads the first as infinity, and neither reads nor prints integers as long as the last.
@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 4000, "9" * 5000], ids=lambda text: text[:6])
@pytest.mark.parametrize("key", ["schema", "keep", "source"])
def test_huge_number_is_refused_in_few_words(number, key):
    refused(re.sub(rf'"{key}": \d+', f'"{key}": {number}', SPACE.to_json(), count=1), "")


@pytest.mark.parametrize(
    "text",
    ["", " ", "{", "nonsense", "{'schema': 1}", SPACE.to_json() + "}", "\ufeff" + SPACE.to_json(), "[" * 100_000],
    ids=["empty", "blank", "cut", "word", "quotes", "trailing", "mark", "deep"],
)
def test_text_that_is_not_json_is_refused(text):
    refused(text, "not readable as JSON: ")


@pytest.mark.parametrize("text", ["null", "true", "1", "[]", '"text"'])
def test_json_that_is_no_object_is_refused(text):
    refused(text, f"JSON: {json.loads(text)!r} is not an object")


def test_text_of_more_than_1_mib_is_refused():
    refused(" " * (MAX_BYTES + 1), "the text has 1,048,577 characters; at most 1,048,576")


@pytest.mark.parametrize("key", ["schema", "template", "source", "operations", "keep", "widths"])
def test_value_as_deep_as_python_can_read_is_refused(key):
    # What JSON reads to the last level may be too deep to print in the message.
    def readable(depth):
        try:
            json.loads("[" * depth + "]" * depth)
        except RecursionError:
            return False
        return True

    low, high = 1, 200_000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if readable(middle) else (low, middle)
    before, after = re.split(rf'(?<="{key}": )', SPACE.to_json(), maxsplit=1)
    after = re.sub(r'^(\[[^]]*\]|"\w+"|\d+)', "", after)
    for depth in range(max(low - 30, 1), low + 5):
        with pytest.raises(ArchitectureError):
            Architecture.from_json(before + "[" * depth + "]" * depth + after)


# --- files ---------------------------------------------------------------------------------------------------


def test_load_reads_what_was_written(tmp_path):
    path = tmp_path / "space.json"
    path.write_text(SPACE.to_json())
    assert Architecture.load(path) == Architecture.load(str(path)) == SPACE


def large(path):
    path.touch()
    os.truncate(path, 100_000_000)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.mkdir(), "not a file"),
        (lambda path: path.write_bytes(bytes(range(256))), "not a text file"),
        (lambda path: path.write_bytes(b""), "not readable as JSON"),
        (large, "larger than 1,048,576 bytes"),
        (lambda path: path.write_text(replaced((*EDGE, "source"), 5)), "cells.normal.nodes[2].edges[0].source: 5 is"),
    ],
    ids=["missing", "directory", "binary", "empty", "large", "invalid"],
)
def test_load_names_the_file_and_the_problem(tmp_path, make, problem):
    path = tmp_path / "genotype.json"
    make(path)
    with pytest.raises(ArchitectureError, match="^" + re.escape(f"{path}: {problem}")):
        Architecture.load(path)


# --- properties ----------------------------------------------------------------------------------------------


def holds_or_refuses(text):
    """Nothing but `ArchitectureError`, in one line; what is accepted survives the round trip."""
    try:
        architecture = Architecture.from_json(text)
    except ArchitectureError as error:
        assert "\n" not in str(error) and len(str(error)) < 500
    else:
        assert Architecture.from_json(architecture.to_json()) == architecture


TOKENS = ["", "{", "}", "[", "]", '"', ",", ":", "null", "true", "NaN", "-", "1e999", "0", "\\", "\\ud800", "9" * 5000]
EDITS = st.tuples(st.floats(0, 1), st.integers(0, 3), st.sampled_from(TOKENS) | st.text(max_size=3))


@hypothesis_settings(settings, max_examples=300)
@given(architectures(), st.lists(EDITS, min_size=1, max_size=4))
def test_edited_text_is_read_or_refused(architecture, edits):
    text = architecture.to_json()
    for position, deleted, inserted in edits:
        start = int(position * len(text))
        text = text[:start] + inserted + text[start + deleted :]
    holds_or_refuses(text)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(OPERATIONS)
KEYS = st.text(max_size=3) | st.sampled_from(["schema", "cells", "nodes", "edges", "keep", "\ud800"])
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


def paths(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*path, key))


def at(document, path):
    return functools.reduce(operator.getitem, path, document)


@hypothesis_settings(settings, max_examples=300)
@given(architectures(), st.data())
def test_json_with_another_value_anywhere_is_read_or_refused(architecture, data):
    document = {"root": json.loads(architecture.to_json())}
    for _ in range(data.draw(st.integers(1, 2))):
        places = st.sampled_from(list(paths(document["root"], ("root",))))
        path = data.draw(places)
        # Any value, or one from elsewhere in the document.
        elsewhere = places.map(lambda other: copy.deepcopy(at(document, other)))
        at(document, path[:-1])[path[-1]] = data.draw(JSON | elsewhere)
    holds_or_refuses(json.dumps(document["root"]))


@pytest.mark.parametrize(("template", "operation"), [("bars", "bin_conv_3x3"), ("bnas", "shortcut")])
def test_operations_of_another_template_are_refused(template, operation):
    cell = Cell("n", (Node((Edge(0, (operation,)),), 1),))
    with pytest.raises(ArchitectureError, match=f"operations.0.: '{operation}' is unknown; accepted: none, "):
        Architecture(template, (cell,), (Stage("n", (4,), (1,)),))


@pytest.mark.parametrize(
    "template, widths, expected",
    [("bnas", (36, 72, 144), (32, 64, 128)), ("bars", (36, 80, 144), (32, 64, 128)), ("vgg11", (5,) * 8, (32,) * 8)],
)
def test_widths_are_rounded_to_multiples(template, widths, expected):
    if template == "vgg11":
        genotype = dms.space("vgg11")
    else:
        genotype = (bnas if template == "bnas" else bars).space(filters=4).sample(0)
    stages = tuple(
        dataclasses.replace(stage, widths=(width,)) for stage, width in zip(genotype.stages, widths, strict=True)
    )
    rounded = round_widths(dataclasses.replace(genotype, stages=stages), 32)
    assert tuple(stage.widths[0] for stage in rounded.stages) == expected
    assert rounded.cells == genotype.cells and [s.depths for s in rounded.stages] == [s.depths for s in genotype.stages]


def test_widths_of_groups_are_not_rounded():
    with pytest.raises(ArchitectureError, match="train with groups=lce"):
        round_widths(zoo.genotype("bats"), 32)
