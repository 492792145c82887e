"""Running the app for real: start it, use it over HTTP, take a picture of it."""

from starter.local.model.conversation import Conversation
from starter.local.model.scripts.theme import Phase, Theme
from starter.local.model.steps import Said, Step, Text, say, use
from starter.local.model.values import json_text

_TMP = "${TMPDIR:-/tmp}"
_START = f'echo $$ > "{_TMP}/preview.pid"; APP_DATABASE="{_TMP}/preview.db" exec python3 app.py'
PREVIEW_STOP = f'kill "$(cat "{_TMP}/preview.pid")"; rm -f "{_TMP}/preview.db" "{_TMP}/preview.pid"'

_PROBE = """python3 - <<'PY'
import json, os, time, urllib.request
base = "http://127.0.0.1:" + os.environ.get("PORT", "8000")
def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    return urllib.request.urlopen(urllib.request.Request(base + path, data, method=method), timeout=5)
for attempt in range(60):
    try:
        print("page:", call("GET", "/").status)
        break
    except OSError:
        time.sleep(0.1)
for name in NAMES:
    item = json.load(call("POST", "API", {"name": name}))["id"]
    if item < 3:
        call("POST", "API/%d/toggle" % item)
print(call("GET", "API").read().decode())
PY"""


def preview_steps(theme: Theme, *, opening: str, phase: Phase) -> list[Step]:
    """Return the steps that open the last phase."""
    probe = _PROBE.replace("NAMES", json_text(theme.suggestions)).replace("API", theme.fill("/api/{{PATH}}"))
    probing = say(Text("A few real requests."), use("bash", command=probe, timeout_seconds=30))
    return [
        Step(
            "start",
            say(
                use("narrate", message=opening, phase_name=phase.name, plan_item=phase.item),
                use("bash", command=_START, background=True),
            ),
        ),
        Step("probe", probing),
        Step("restart", _restart, when=lambda conversation: not _runs(conversation), attempts=1),
        Step("probe-again", probing, when=lambda conversation: not _runs(conversation), attempts=1),
        Step(
            "look-at-page", say(Text("And a look at the page."), use("take_screenshot", path="/")), when=_runs
        ),
    ]


def _restart(_conversation: Conversation) -> list[Said]:
    words = Text("It does not answer: whatever was started is gone. I start it once more.")
    return [words, use("bash", command=f"{_START} 2>&1", background=True)]


def _runs(conversation: Conversation) -> bool:
    return any(
        "page: 200" in conversation.result(step) for step in ("probe", "probe-again") if conversation.of(step)
    )
