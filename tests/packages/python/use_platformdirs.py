"""platformdirs: where programs keep their files, as the environment says."""
import os
import tempfile

for name in [name for name in os.environ if name.startswith("XDG_")]:
    del os.environ[name]
os.environ["HOME"] = "/home/somebody"

import platformdirs
from platformdirs import PlatformDirs
from platformdirs.macos import MacOS
from platformdirs.unix import Unix

dirs = PlatformDirs("Tool Box", "Maker", version="1.2")
print(type(dirs).__name__)
for name in ("user_data_dir", "user_config_dir", "user_cache_dir", "user_state_dir", "user_log_dir", "site_data_dir", "site_config_dir", "user_documents_dir"):
    print(name, getattr(dirs, name))
os.environ["XDG_CONFIG_HOME"] = "/etc/xdg home"
os.environ["XDG_DATA_DIRS"] = "/one:/two"
print(platformdirs.user_config_dir("t"), Unix("t", multipath=True).site_data_dir, dirs.user_config_path / "x.toml")
print(MacOS("t", "m").user_cache_dir, PlatformDirs("t", opinion=False).user_log_dir)
with tempfile.TemporaryDirectory() as root:
    os.environ["XDG_CACHE_HOME"] = root
    made = PlatformDirs("t", ensure_exists=True).user_cache_path
    print(made.relative_to(root), made.is_dir())
