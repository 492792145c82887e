"""The profile of the chaos: time limits of ours, shortened, so that more of them pass within a build.

Nothing else differs from a worker in life. A step of the workflow keeps its 3 s, `options.WORKFLOW_TASK`:
within them another worker must have replayed the run.
"""

PROFILE = {
    # The shortest. Killed workers are noticed sooner; those that lost Temporal for a moment are taken for
    # dead, and their calls are tried again while they still work on them.
    "HEARTBEAT_TIMEOUT_SECONDS": "2",
    # The shortest. Each created or resumed sandbox must be lengthened before its first command, by a request
    # that can fail, be lost or meet another sandbox; one that no worker comes to in time is paused unasked.
    "SANDBOX_TIMEOUT_SECONDS": "60",
}
"""Settings of every worker, as they stand in the environment."""
LONGEST_PAUSE_SECONDS = 2
"""Until a worker that was killed young is started again; in life up to 30, as one may never begin."""
