"""Running the engine as a child: run folder, process, progress, record.

Other packages may import:

- `preflight.schedule`: whether a training makes enough updates.
- `prepare.job`, `prepare.start`, `prepare.adapter`: everything that a run starts from, and its folder.
- `launch.launch`, `launch.launchers.registry`, `launch.launchers.nodes`, `launch.trackers`: how it is started.
- `supervise.attempt`, `supervise.supervisor`, `supervise.stall`, `supervise.health`, `supervise.background`: how it
  is followed and ended.
- `again.resume`, `again.join`, `again.replay`, `again.recovery`: a run once more.
- `folder.record`, `folder.paths`, `folder.monitor`, `folder.history`, `folder.health`, `folder.rank_logs`,
  `folder.checkpoints`: what its folder tells.
"""
