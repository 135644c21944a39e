"""A real Keystone on 127.0.0.1: serve.py PORT FOLDER, where FOLDER has keystone.conf. See fetch."""
import os
import sys

port, folder = sys.argv[1:]
os.environ["OS_KEYSTONE_CONFIG_DIR"] = folder
# Keystone parses what is left of the arguments.
sys.argv = ["keystone"]

import waitress
from keystone.server import wsgi

waitress.serve(wsgi.initialize_public_application(), listen=f"127.0.0.1:{port}", threads=4)
