"""What the tests share: a kernel behind jupyter_client, and the messages of a cell."""

import queue
import time

from jupyter_client.manager import KernelManager

NAME = "kernelscope"
# A machine that is busy with something else must not fail a test; only a kernel that hangs does.
PATIENCE = 600


class Kernel:
    """A running kernel and its client."""

    def __init__(self, cwd=None, wait=True):
        self.manager = KernelManager(kernel_name=NAME)
        self.started = time.monotonic()
        self.manager.start_kernel(cwd=cwd)
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)
        self.ready = time.monotonic() - self.started
        if wait:
            self.run("1 + 1")
            self.warm = time.monotonic() - self.started

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)

    def send(self, code):
        """Sends a cell; its identifier."""
        return self.client.execute(code, allow_stdin=False)

    def messages(self, cell, seconds=PATIENCE):
        """The messages of a cell on iopub, until it is idle."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != cell:
                continue
            yield message
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return
        raise TimeoutError(f"cell {cell} did not end within {seconds} s")

    def reply(self, cell):
        """The reply to a cell on the shell channel."""
        while True:
            message = self.client.get_shell_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == cell:
                return message["content"]

    def run(self, code):
        """Runs a cell to its end."""
        cell = self.send(code)
        messages = list(self.messages(cell))
        return Cell(self.reply(cell), messages)


class Cell:
    """What a cell has shown and come to."""

    def __init__(self, reply, messages):
        self.reply = reply
        self.messages = messages

    def of(self, kind):
        return [m["content"] for m in self.messages if m["msg_type"] == kind]

    def text(self, name="stdout"):
        return "".join(c["text"] for c in self.of("stream") if c["name"] == name)

    @property
    def result(self):
        results = self.of("execute_result")
        return results[0]["data"] if results else None

    @property
    def error(self):
        errors = self.of("error")
        return errors[0] if errors else None
