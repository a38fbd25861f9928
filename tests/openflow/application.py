"""Runs an os-ken application from its file: os-ken 4 has no program of its own that does. Needs an environment with os-ken."""

import os
import sys
from pathlib import Path

os.environ["OSKEN_HUB_TYPE"] = "eventlet"
sys.dont_write_bytecode = True

from os_ken.lib import hub  # noqa: E402

hub.patch(thread=False)

from os_ken import cfg  # noqa: E402
from os_ken.base.app_manager import AppManager  # noqa: E402

path = Path(sys.argv[1])
sys.path.insert(0, str(path.parent))
cfg.CONF(args=["--ofp-listen-host=127.0.0.1", "--ofp-tcp-listen-port=6653"], project="os_ken", version="")
AppManager.run_apps(["os_ken.controller.ofp_handler", path.stem])
