"""A new epoch begins with what was said and done, as it stands in the rows."""

import json
from dataclasses import replace
from typing import Any

import pytest

from activities.prompt import first_message, read_plan
from activities.recap import DETAILS, recap
from activities.rows import IMAGE_WEIGHT, Role, Row, dump, weight
from activities.transcript import ToolResult
from workflows.models import BuildPlan, PlanPhase

FIRST = [{"type": "text", "text": "# The founder's idea brief\n\nA page."}]


AMPLE = 1_000_000


def rows(*contents: Any) -> list[Row]:
    made = [Row(id=1, build_id="b", parent_id=None, role="system", body="{}")]
    for content in contents:
        role: Role = "assistant" if made[-1].role == "user" else "user"
        made.append(Row(id=len(made) + 1, build_id="b", parent_id=made[-1].id, role=role, body=dump(content)))
    return made


def call(number: int, name: str, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"t{number}", "name": name, "input": given}


def answer(number: int, content: Any = "ok", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": f"t{number}", "content": content, **more}


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


def told(
    story: list[Row],
    *,
    notes: tuple[str, ...] = (),
    results: dict[str, ToolResult] | None = None,
    within: int = AMPLE,
) -> list[str]:
    made = json.loads(recap(story, results or {}, notes, within=within))
    return [block["text"] for block in made]


STORY = rows(
    FIRST,
    [
        call(1, "narrate", message="We begin.", phase_name="Base"),
        call(2, "write_file", path="app.py", content="x"),
    ],
    [answer(1), answer(2), text("[founder] Make it blue."), text("[allowance] 80 % is spent.")],
    [text("Testing."), call(3, "bash", command="pytest -q"), call(4, "edit_file", path="bad.py")],
    [answer(3, "E" * 5_000 + "2 failed", is_error=True), answer(4, "no", is_error=True)],
    [call(5, "bash", command="pytest"), call(6, "document", section="faq", content="Q")],
)


def test_state_is_picked_out_of_the_rows():
    """The brief, narrations with phases, files, commands with their outcome, the guide and the notes."""
    first, state = told(STORY)

    assert first == FIRST[0]["text"]
    for line in (
        "- [Base] We begin.",
        "- app.py",
        "- failed: pytest -q",
        "- ok: pytest",
        "- faq",
        "- [founder] Make it blue.",
    ):
        assert line in state
    assert "- bad.py" not in state
    assert "80 %" not in state


def test_results_that_were_not_sent_yet_are_told():
    """The last turn's results stand in no row; they and the new notes are told too."""
    block = dump(answer(5, "all passed"))
    result = ToolResult(tool_use_id="t5", body=block, preview="", is_error=False, generation=1)
    _, state, note = told(STORY, results={"t5": result}, notes=("Go on.", " "))

    assert "bash: pytest\nall passed" in state
    assert note == "Go on."


def test_long_results_are_cut_in_the_middle():
    """Of a long result its head and tail are kept."""
    _, state = told(STORY)

    assert "2 failed" in state
    assert "E" * DETAILS[0].stale not in state.partition("## Your last turns")[2]


def test_later_epoch_tells_the_whole_story():
    """The recap of an epoch that began with a recap holds both, once."""
    earlier = json.loads(recap(STORY, {}, (), within=AMPLE))
    later = [*STORY, *rows(earlier, [call(7, "narrate", message="We go on.")])]
    first, state = told(later)

    assert first == FIRST[0]["text"]
    assert state.count("- [Base] We begin.") == state.count("# Where we are") == 1
    assert "We go on." in state


def test_broken_calls_do_no_harm():
    """A call whose input never validated is told like any other."""
    story = rows(FIRST, [call(1, "bash", malformed_json="{"), call(2, "write_file"), call(3, "unheard_of")])

    assert "# Where we are" in told(story)[1]


OWN_PLAN = rows(
    FIRST,
    [call(1, "write_file", path="./PLAN.md", content="# Plan\n\n- [ ] list\n- [ ] form\n")],
    [answer(1)],
    [call(2, "edit_file", path="PLAN.md", old_string="- [ ] list", new_string="- [x] list")],
    [answer(2)],
    [call(3, "edit_file", path="PLAN.md", old_string="- [ ] form", new_string="- [x] form")],
    [answer(3, "old_string occurs 0 times", is_error=True)],
)


def test_a_plan_of_its_own_is_told_whole():
    """A model that was given no plan and wrote PLAN.md reads it as its own edits left it, item by item."""
    _, state = told(OWN_PLAN)

    assert "as you last wrote it\n\n# Plan\n\n- [x] list\n- [ ] form\n" in state
    assert "PLAN.md, as" not in told(STORY)[1]


PLAN = BuildPlan(
    phases=(
        PlanPhase(name="Base", items=("sign up", "log in")),
        PlanPhase(name="Pages", items=("home",)),
        PlanPhase(name="Polish"),
    )
)


def test_the_plan_is_told_item_by_item():
    """Phases that ended are done, the last that began is under way; those the plan lacks are told too."""
    story = rows(
        first_message({"idea": "x"}, (), PLAN, is_further=False),
        [call(1, "narrate", message="We begin.", phase_name="Base")],
        [answer(1)],
        [call(2, "narrate", message="On we go.", phase_name="Extra"), call(3, "narrate", message="A page?")],
    )
    state = told(story)[1]

    assert "- [done] Base: sign up; log in\n- [to do] Pages: home\n- [to do] Polish\n" in state
    assert "- [under way] Extra\n" in state


@pytest.mark.parametrize("text", ["", "<build_plan>\n{", "<build_plan>\nnot json\n</build_plan>"])
def test_words_that_look_like_a_plan_do_no_harm(text: str):
    """A founder may write anything."""
    assert BuildPlan() == read_plan(text)


def test_each_file_has_one_line():
    """What was written, how often it was changed since and to what; the last touched is last."""
    story = rows(
        FIRST,
        [
            call(1, "write_file", path="a.py", content='\n"""A."""\nx = 1\n'),
            call(2, "write_file", path="b.py", content="b"),
            call(3, "edit_file", path="a.py", old_string="x", new_string="\n  y = 2\nz"),
            call(4, "edit_file", path="c.py", old_string="x", new_string=""),
        ],
        [answer(number) for number in range(1, 5)],
    )

    assert (
        "- b.py: 1 lines, begins `b`\n"
        '- a.py: 3 lines, begins `"""A."""`; changed 1 times, last to `y = 2`\n'
        "- c.py: changed 1 times, last to ``\n"
    ) in told(story)[1]


def test_failures_are_told_until_they_succeed():
    """A call that failed is told with the end of its output; once the same call succeeds it is not."""
    story = rows(
        FIRST,
        [call(1, "bash", command="make"), call(2, "bash", command="pytest")],
        [answer(1, "no rule", is_error=True), answer(2, "E" * 9_000 + "1 failed", is_error=True)],
        [call(3, "bash", command="make")],
        [answer(3)],
    )
    failed = told(story)[1].partition("has not succeeded since\n")[2].partition("\n## ")[0]

    assert failed.startswith("\n- bash: pytest\n[…] E")
    assert failed.endswith("1 failed\n")
    assert "make" not in failed


def test_questions_stay_open_until_the_founder_speaks():
    """What the model asked is told until a person has answered, be it with the notes of this very turn."""
    story = rows(
        FIRST,
        [text("Red? I think so."), call(1, "narrate", message="Shall we ask for names? I go on without.")],
        [answer(1)],
    )

    assert "- Red?\n- Shall we ask for names?" in told(story)[1]
    assert "Red?\n-" not in told(story, notes=("[founder] Blue, and no names.",))[1]


def picture(number: int) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "image/webp", "data": f"{number}" * 50_000}
    return {"type": "image", "source": source}


def test_pictures_leave_and_their_description_stays():
    """Of pictures only the words beside them are told; those the model has not seen yet come along."""
    looked = [{"type": "text", "text": "desktop: 1280x800, kept as one"}, picture(1)]
    again = answer(2, [{"type": "text", "text": "desktop: 1280x800, kept as two"}, picture(2)])
    story = rows(
        FIRST,
        [call(1, "take_screenshot", path="/")],
        [answer(1, looked)],
        [call(2, "take_screenshot", path="/about")],
    )
    result = ToolResult(tool_use_id="t2", body=dump(again), preview="", is_error=False, generation=1)
    made = json.loads(recap(story, {"t2": result}, (), within=AMPLE))

    assert ["text", "text", "image"] == [block["type"] for block in made]
    assert picture(2) == made[2]
    assert "- /: desktop: 1280x800, kept as one (image)" in made[1]["text"]
    assert "- /about: desktop: 1280x800, kept as two (image)" in made[1]["text"]
    assert weight(dump(again)) < 2 * IMAGE_WEIGHT


def long_story(turns: int) -> list[Row]:
    contents: list[Any] = [FIRST]
    for number in range(turns):
        told_now = call(2 * number, "narrate", message=f"Step {number}. " + "w" * 900)
        contents.append([told_now, call(2 * number + 1, "bash", command=f"make {number}")])
        contents.append([answer(2 * number), answer(2 * number + 1, f"out {number} " + "o" * 9_000)])
    return rows(*contents[:-1])


def test_stale_output_goes_first():
    """Where less fits, older results are shortened and dropped before any line of the story is."""
    story = long_story(40)
    full = weight(recap(story, {}, (), within=AMPLE))
    tighter = told(story, within=full - 1)[1]

    assert "o" * DETAILS[1].stale not in tighter
    assert "Step 0. " in tighter
    assert "make 39" in tighter


def test_the_tightest_recap_stays_small_however_long_the_build():
    """Its length does not grow with the build; what is left out is counted."""
    sizes = [weight(recap(long_story(turns), {}, (), within=0)) for turns in (40, 120)]
    state = told(long_story(120), within=0)[1]

    assert sizes[1] < sizes[0] * 1.05 < 12_000
    assert "- (105 older ones left out)" in state
    assert "Step 119." in state


def test_what_came_with_an_epochs_first_message_is_told_in_the_next():
    """Notes that were added to a recap stand nowhere else, and the answers it told of stand in no row."""
    broken = ToolResult(
        tool_use_id="t6",
        body=dump(answer(6, "no disk", is_error=True)),
        preview="",
        is_error=True,
        generation=1,
    )
    began = json.loads(recap(STORY, {"t6": broken}, ("[founder] No cookies.",), within=AMPLE))
    later = [*STORY, *(replace(row, id=row.id + 100) for row in rows(began, [text("I see.")])[1:])]
    state = told(later, results={"t6": broken})[1]

    assert 1 == state.count("- [founder] No cookies.")
    assert "- faq" not in state
    assert "- document: faq\nno disk" in state


def test_words_of_the_last_turn_are_cut_too():
    """However much the model said at once."""
    assert weight(recap(rows(FIRST, [text("w" * 90_000)]), {}, (), within=0)) < 2_000
