"""nuScenes, and any dataset in its format, as rigs; read with nuscenes-devkit (extra `nuscenes`)."""
