"""The programs of the cases: Channels applications that know neither their server nor their channel layer."""
