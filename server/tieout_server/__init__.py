"""tieout_server."""
