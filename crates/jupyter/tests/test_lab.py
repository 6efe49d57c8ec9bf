"""JupyterLab in a browser without a window: runs a notebook with this kernel and looks at the page."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request
from pathlib import Path

import websocket

from client import PATIENCE


def chromium():
    """The first browser that runs; Ubuntu has one that only says where to get it, and snaps see no temporary folders."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path:
            version = subprocess.run([path, "--version"], capture_output=True, check=False)
            if version.returncode == 0 and not version.stdout.rstrip().endswith(b"snap"):
                return path
    return None


CHROMIUM = chromium()
TOKEN = "kernelscope"
CELLS = [
    "let x = Tensor::randn(0f32, 1.0, (16, 16), &Device::Cpu)?;\nx",
    'let run = training("nano-1d").images(128).epochs(2).set("data.source.val", 32).run("run")?;',
]


def notebook():
    cells = [{"cell_type": "code", "id": f"c{i}", "metadata": {}, "execution_count": None, "outputs": [], "source": code}
             for i, code in enumerate(CELLS)]
    spec = {"name": "kernelscope", "display_name": "Rust (kernelscope)", "language": "rust"}
    return {"cells": cells, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5}


class Browser:
    """A page of Chromium, by its debugging protocol."""

    def __init__(self, profile):
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1600", "--remote-debugging-port=0",
                 "--remote-allow-origins=*", f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen([CHROMIUM, *flags], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        port_file = Path(profile) / "DevToolsActivePort"
        port = wait_for(lambda: port_file.read_text().splitlines()[0] if port_file.is_file() else None)
        pages = wait_for(lambda: [p for p in load(f"http://127.0.0.1:{port}/json") if p["type"] == "page"])
        self.socket = websocket.create_connection(pages[0]["webSocketDebuggerUrl"], timeout=PATIENCE)
        self.count = 0

    def call(self, method, **params):
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.count:
                return answer.get("result", answer)

    def evaluate(self, script):
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return result.get("result", {}).get("value")

    def picture(self, path):
        data = self.call("Page.captureScreenshot", format="png")["data"]
        Path(path).write_bytes(base64.b64decode(data))

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(timeout=60)


def load(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def wait_for(what, seconds=PATIENCE):
    """The first value of `what` that is one."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            value = what()
        except (OSError, IndexError):
            value = None
        if value:
            return value
        time.sleep(0.25)
    raise TimeoutError("nothing came")


@unittest.skipUnless(CHROMIUM, "no Chromium on this machine")
class Lab(unittest.TestCase):
    def test_a_cell_shows_a_figure_and_training_a_curve(self):
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as profile:
            (Path(folder) / "first.ipynb").write_text(json.dumps(notebook()))
            # Not `jupyter lab`, which looks for a script that names the folder it was installed in.
            command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0",
                       f"--IdentityProvider.token={TOKEN}", "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None",
                       f"--notebook-dir={folder}"]
            server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            try:
                port = next(m[1] for line in server.stderr if (m := re.search(r"http://127\.0\.0\.1:(\d+)/lab", line)))
                # The server goes on writing.
                threading.Thread(target=lambda: [None for _ in server.stderr], daemon=True).start()
                browser = Browser(profile)
                try:
                    self.look(browser, port)
                finally:
                    picture = os.environ.get("KERNELSCOPE_LAB_PICTURE")
                    if picture:
                        browser.picture(picture)
                    browser.close()
            finally:
                server.terminate()
                server.wait(timeout=120)

    def look(self, browser, port):
        browser.call("Page.enable")
        # A page without a window never has the focus, and JupyterLab has no current notebook without it.
        browser.call("Emulation.setFocusEmulationEnabled", enabled=True)
        browser.call("Page.navigate", url=f"http://127.0.0.1:{port}/lab/tree/first.ipynb?token={TOKEN}")
        wait_for(lambda: browser.evaluate("!!(window.jupyterapp && document.querySelector('.jp-NotebookPanel .jp-Cell'))"))
        wait_for(lambda: browser.evaluate(
            "(window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status ?? '') === 'idle'"))
        browser.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        # The figure of the tensor, then the curve; both as pictures that have been drawn.
        drawn = "[...document.querySelectorAll('.jp-OutputArea-output img')].filter(i => i.naturalWidth > 300).length"
        wait_for(lambda: (browser.evaluate(drawn) or 0) >= 2)
        text = wait_for(lambda: (t := browser.evaluate(
            "document.querySelector('.jp-Notebook').innerText")) and "step 8 of 8" in t and t)
        self.assertIn("accuracy", text)
        self.assertEqual(browser.evaluate("document.querySelectorAll('.jp-OutputArea-output[data-mime-type*=\"stderr\"]').length"), 0)


if __name__ == "__main__":
    unittest.main()
