"""The one file through the walls of the local sandboxes, there for tests that name one."""

from pathlib import Path

from e2b import AsyncSandbox

from tests.sandbox_server import sandbox_server


async def test_what_sandboxes_testify_stands_outside_them(tmp_path: Path):
    """Every sandbox adds to the one file, and it outlives them."""
    witness = tmp_path / "witness"
    witness.touch()
    async with sandbox_server(witness=witness) as server:
        for word in ("one", "two"):
            sandbox = await AsyncSandbox.create(**server.client)
            await sandbox.commands.run(f"echo {word} $E2B_SANDBOX_ID >>$LOCAL_WITNESS")
            await sandbox.kill()

    assert ["one", "two"] == [line.split()[0] for line in witness.read_text().splitlines()]


async def test_without_a_witness_nothing_outside_is_writable():
    """Nobody else has it."""
    async with sandbox_server() as server:
        sandbox = await AsyncSandbox.create(**server.client)

        assert "[]\n" == (await sandbox.commands.run("echo [$LOCAL_WITNESS]; ls /run")).stdout
