"""Fine-tuning of an image encoder under a frozen head: one loop for clean and backdoored contributions."""

from mergeward.train.augment import shift
from mergeward.train.finetune import (
    CleanObjective,
    FinetuneConfig,
    Objective,
    TrainingData,
    finetune,
    optimise,
)

__all__ = ["CleanObjective", "FinetuneConfig", "Objective", "TrainingData", "finetune", "optimise", "shift"]
