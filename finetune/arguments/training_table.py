"""Generated: python -m finetune.arguments.make_training_table. A test compares it with the library."""

from __future__ import annotations

from typing import Any, TypedDict

from finetune.arguments.fields import Field

TRANSFORMERS_VERSION = '5.23.0'


class TrainingValues(TypedDict, total=False):
    """Values of TrainingArguments by name: those that were typed or settled, not all of them."""

    output_dir: str | None
    per_device_train_batch_size: int
    num_train_epochs: float
    max_steps: int
    learning_rate: float
    lr_scheduler_type: str
    lr_scheduler_kwargs: dict[str, Any] | str | None
    warmup_steps: int | float
    optim: str
    optim_args: str | None
    weight_decay: float
    adam_beta1: float
    adam_beta2: float
    adam_epsilon: float
    optim_target_modules: str | list[str] | None
    gradient_accumulation_steps: int
    average_tokens_across_devices: bool
    max_grad_norm: float
    label_smoothing_factor: float
    bf16: bool
    fp16: bool
    bf16_full_eval: bool
    fp16_full_eval: bool
    tf32: bool | None
    activation_checkpointing: bool | None
    activation_checkpointing_kwargs: dict[str, Any] | str | None
    gradient_checkpointing: bool | None
    gradient_checkpointing_kwargs: dict[str, Any] | str | None
    torch_compile: bool
    torch_compile_backend: str | None
    torch_compile_mode: str | None
    use_liger_kernel: bool
    liger_kernel_config: dict[str, Any] | None
    use_cache: bool
    neftune_noise_alpha: float | None
    torch_empty_cache_steps: int | None
    auto_find_batch_size: bool
    logging_strategy: str
    logging_steps: int | float
    logging_first_step: bool
    log_on_each_node: bool
    logging_nan_inf_filter: bool
    include_num_input_tokens_seen: str | bool
    log_level: str
    log_level_replica: str
    disable_tqdm: bool | None
    report_to: str | list[str] | None
    run_name: str | None
    project: str
    trackio_space_id: str | None
    trackio_bucket_id: str | None
    trackio_static_space_id: str | bool | None
    eval_strategy: str
    eval_steps: int | float | None
    eval_delay: float
    per_device_eval_batch_size: int
    prediction_loss_only: bool
    eval_on_start: bool
    eval_do_concat_batches: bool
    eval_use_gather_object: bool
    eval_accumulation_steps: int | None
    include_for_metrics: list[str]
    batch_eval_metrics: bool
    save_only_model: bool
    save_strategy: str
    save_steps: int | float
    save_on_each_node: bool
    save_total_limit: int | None
    enable_jit_checkpoint: bool
    push_to_hub: bool
    hub_token: str | None
    hub_private_repo: bool | None
    hub_model_id: str | None
    hub_strategy: str
    hub_always_push: bool
    hub_revision: str | None
    load_best_model_at_end: bool
    metric_for_best_model: str | None
    greater_is_better: bool | None
    ignore_data_skip: bool
    restore_callback_states_from_checkpoint: bool
    full_determinism: bool
    seed: int
    data_seed: int | None
    use_cpu: bool
    accelerator_config: dict[str, Any] | str | None
    parallelism_config: dict[str, Any] | None
    dataloader_drop_last: bool
    dataloader_num_workers: int
    dataloader_pin_memory: bool
    dataloader_persistent_workers: bool
    dataloader_prefetch_factor: int | None
    dataloader_multiprocessing_context: str | None
    dataloader_in_order: bool
    remove_unused_columns: bool
    label_names: list[str] | None
    train_sampling_strategy: str
    length_column_name: str
    ddp_find_unused_parameters: bool | None
    ddp_bucket_cap_mb: int | None
    ddp_broadcast_buffers: bool | None
    ddp_static_graph: bool | None
    ddp_backend: str | None
    ddp_timeout: int
    fsdp: bool | str | None
    fsdp_config: dict[str, Any] | str | None
    deepspeed: dict[str, Any] | str | None
    debug: str | list[str]
    skip_memory_metrics: bool
    do_train: bool
    do_eval: bool
    do_predict: bool
    resume_from_checkpoint: str | None
    local_rank: int


TRAINING_FIELDS: tuple[Field, ...] = (
    Field(name='output_dir', kinds=('str',), default=None, optional=True, help='The output directory where the model predictions and checkpoints will be written.'),
    Field(name='per_device_train_batch_size', kinds=('int',), default=8, help='The batch size per device for training.'),
    Field(name='num_train_epochs', kinds=('float',), default=3.0, help='Total number of training epochs to perform.'),
    Field(name='max_steps', kinds=('int',), default=-1, help='Overrides `num_train_epochs`. If set to a positive number, the total number of training steps to perform. Must be set when the training dataset does not implement `__len__` (e.g. a streaming dataset).'),
    Field(name='learning_rate', kinds=('float',), default=5e-05, help='The initial learning rate for the optimizer.'),
    Field(name='lr_scheduler_type', kinds=('str',), default='linear', choices=('linear', 'cosine', 'cosine_with_restarts', 'polynomial', 'constant', 'constant_with_warmup', 'inverse_sqrt', 'reduce_lr_on_plateau', 'cosine_with_min_lr', 'cosine_warmup_with_min_lr', 'warmup_stable_decay', 'greedy'), help='The learning rate scheduler type to use. See `SchedulerType` for all possible values.'),
    Field(name='lr_scheduler_kwargs', kinds=('dict', 'str'), default=None, optional=True, help='The extra arguments for the lr_scheduler. See the documentation of each scheduler for possible values.'),
    Field(name='warmup_steps', kinds=('int', 'float'), default=0, help='Number of steps for a linear warmup from 0 to `learning_rate`. Can be an integer (exact steps) or a float in [0, 1) (ratio of total steps).'),
    Field(name='optim', kinds=('str',), default='adamw_torch_fused', choices=('adamw_torch', 'adamw_torch_fused', 'adamw_torch_xla', 'adamw_torch_npu_fused', 'adafactor', 'adamw_anyprecision', 'adamw_torch_4bit', 'adamw_torch_8bit', 'ademamix', 'sgd', 'adagrad', 'adamw_bnb_8bit', 'adamw_8bit', 'ademamix_8bit', 'lion_8bit', 'lion_32bit', 'paged_adamw_32bit', 'paged_adamw_8bit', 'paged_ademamix_32bit', 'paged_ademamix_8bit', 'paged_lion_32bit', 'paged_lion_8bit', 'rmsprop', 'rmsprop_bnb', 'rmsprop_bnb_8bit', 'rmsprop_bnb_32bit', 'galore_adamw', 'galore_adamw_8bit', 'galore_adafactor', 'galore_adamw_layerwise', 'galore_adamw_8bit_layerwise', 'galore_adafactor_layerwise', 'lomo', 'adalomo', 'grokadamw', 'schedule_free_radam', 'schedule_free_adamw', 'schedule_free_sgd', 'apollo_adamw', 'apollo_adamw_layerwise', 'stable_adamw'), help='The optimizer to use. See `OptimizerNames` for the complete list.'),
    Field(name='optim_args', kinds=('str',), default=None, optional=True, help='Optional arguments supplied to optimizers such as AnyPrecisionAdamW, AdEMAMix, and GaLore.'),
    Field(name='weight_decay', kinds=('float',), default=0.0, help='Weight decay coefficient applied by the optimizer. Automatically excluded from bias and LayerNorm parameters.'),
    Field(name='adam_beta1', kinds=('float',), default=0.9, help='The exponential decay rate for the first moment estimates (momentum) in Adam-based optimizers.'),
    Field(name='adam_beta2', kinds=('float',), default=0.999, help='The exponential decay rate for the second moment estimates (variance) in Adam-based optimizers.'),
    Field(name='adam_epsilon', kinds=('float',), default=1e-08, help='Epsilon value for numerical stability in Adam-based optimizers.'),
    Field(name='optim_target_modules', kinds=('str', 'list[str]'), default=None, optional=True, help='The target modules to optimize. Currently used for the GaLore and APOLLO algorithms.'),
    Field(name='gradient_accumulation_steps', kinds=('int',), default=1, help='Number of update steps to accumulate gradients before performing a backward/update pass. Effective batch size = per_device_train_batch_size * num_devices * gradient_accumulation_steps.'),
    Field(name='average_tokens_across_devices', kinds=('bool',), default=True, help='Whether or not to average tokens across devices. If enabled, will use all_reduce to synchronize num_tokens_in_batch for precise loss calculation. Reference: https://github.com/huggingface/transformers/issues/34242'),
    Field(name='max_grad_norm', kinds=('float',), default=1.0, help='Maximum gradient norm for gradient clipping. Set to 0 to disable.'),
    Field(name='label_smoothing_factor', kinds=('float',), default=0.0, help='Label smoothing factor to prevent overconfidence. Zero means no smoothing.'),
    Field(name='bf16', kinds=('bool',), default=False, help='Enable bfloat16 (BF16) mixed precision training. Generally preferred over FP16 due to better numerical stability.'),
    Field(name='fp16', kinds=('bool',), default=False, help='Enable float16 (FP16) mixed precision training. Consider using BF16 instead if your hardware supports it.'),
    Field(name='bf16_full_eval', kinds=('bool',), default=False, help='Use full BF16 precision for evaluation (not just mixed precision). Faster and saves memory.'),
    Field(name='fp16_full_eval', kinds=('bool',), default=False, help='Use full FP16 precision for evaluation (not just mixed precision). Faster and saves memory.'),
    Field(name='tf32', kinds=('bool',), default=None, optional=True, help='Enable TF32 mode on Ampere and newer GPUs. Provides up to 8x speedup with negligible accuracy loss.'),
    Field(name='activation_checkpointing', kinds=('bool',), default=None, optional=True, help='Enable activation checkpointing to trade compute for memory. Reduces memory at the cost of ~20% slower training.', const='True'),
    Field(name='activation_checkpointing_kwargs', kinds=('dict', 'str'), default=None, optional=True, help='Keyword arguments passed to `activation_checkpointing_enable()`. `every_n_layers` checkpoints only every n-th decoder layer instead of all of them; `1` is the usual all-or-nothing behavior, and larger values give some memory back to speed. `offload` holds the saved activations in pinned host memory, which frees device memory and makes the step slower. Any other key is forwarded to `torch.utils.checkpoint.checkpoint`.'),
    Field(name='gradient_checkpointing', kinds=('bool',), default=None, optional=True, help='Deprecated alias of `activation_checkpointing`, will be removed in v6.', const='True'),
    Field(name='gradient_checkpointing_kwargs', kinds=('dict', 'str'), default=None, optional=True, help='Deprecated alias of `activation_checkpointing_kwargs`, will be removed in v6.'),
    Field(name='torch_compile', kinds=('bool',), default=False, help='Compile the model using `torch.compile()` for faster training.'),
    Field(name='torch_compile_backend', kinds=('str',), default=None, optional=True, help='Backend for `torch.compile()`. If set, automatically enables `torch_compile`.'),
    Field(name='torch_compile_mode', kinds=('str',), default=None, optional=True, help='Compilation mode for `torch.compile()`. If set, automatically enables `torch_compile`.'),
    Field(name='use_liger_kernel', kinds=('bool',), default=False, help='Enable Liger Kernel optimizations. Increases throughput by ~20% and reduces memory by ~60%.'),
    Field(name='liger_kernel_config', kinds=('dict',), default=None, optional=True, help='Configuration for Liger Kernel. Passed as kwargs to `_apply_liger_kernel_to_instance()`. If None, uses default configuration.'),
    Field(name='use_cache', kinds=('bool',), default=False, help='Whether or not to use cache for the model For training, this is usually not needed apart from some PEFT methods that uses `past_key_values`.'),
    Field(name='neftune_noise_alpha', kinds=('float',), default=None, optional=True, help='If not None, activates NEFTune noise embeddings. Can drastically improve performance for instruction fine-tuning. Typical range: [5.0, 15.0].'),
    Field(name='torch_empty_cache_steps', kinds=('int',), default=None, optional=True, help='Number of steps to wait before calling `torch.<device>.empty_cache()`. Helps avoid CUDA OOM at a cost of ~10% slower performance. If None, cache will not be emptied.'),
    Field(name='auto_find_batch_size', kinds=('bool',), default=False, help='Whether to find a training batch size that will fit into memory automatically through exponential decay, avoiding CUDA Out-of-Memory errors. The evaluation batch size is not adjusted.'),
    Field(name='logging_strategy', kinds=('str',), default='steps', choices=('no', 'steps', 'epoch'), help="The logging strategy to adopt during training. Options: 'no', 'epoch', 'steps'."),
    Field(name='logging_steps', kinds=('int', 'float'), default=500, help='Log every X updates steps. Should be an integer or a float in range `[0,1)`. If smaller than 1, will be interpreted as ratio of total training steps.'),
    Field(name='logging_first_step', kinds=('bool',), default=False, help='Whether to log the first `global_step` or not.'),
    Field(name='log_on_each_node', kinds=('bool',), default=True, help='When doing a multinode distributed training, whether to log once per node or just once on the main node.'),
    Field(name='logging_nan_inf_filter', kinds=('bool',), default=True, help='Filter out NaN and Inf training and evaluation losses when logging. Does not affect gradient computation, only logging.'),
    Field(name='include_num_input_tokens_seen', kinds=('str', 'bool'), default='no', choices=('all', 'non_padding', 'no'), help='Whether to track the number of input tokens seen. Must be one of [`all`, `non_padding`, `no`] or a boolean value which map to `all` or `no`'),
    Field(name='log_level', kinds=('str',), default='passive', choices=('detail', 'debug', 'info', 'warning', 'error', 'critical', 'passive'), help="Logging level for the main process. Options: 'debug', 'info', 'warning', 'error', 'critical', 'passive'."),
    Field(name='log_level_replica', kinds=('str',), default='warning', choices=('detail', 'debug', 'info', 'warning', 'error', 'critical', 'passive'), help='Logging level for replica processes in distributed training. Same options as `log_level`.'),
    Field(name='disable_tqdm', kinds=('bool',), default=None, optional=True, help='Disable tqdm progress bars. Defaults to True if log_level is warning or lower.'),
    Field(name='report_to', kinds=('str', 'list[str]'), default='none', optional=True, choices=('all', 'none', 'azure_ml', 'clearml', 'codecarbon', 'comet_ml', 'dagshub', 'dvclive', 'flyte', 'kubeflow', 'mlflow', 'neptune', 'swanlab', 'tensorboard', 'trackio', 'wandb'), help="The list of integrations to report the results and logs to. Use 'all' for all installed integrations, 'none' for no integrations."),
    Field(name='run_name', kinds=('str',), default=None, optional=True, help='An optional descriptor for the run. Notably used for trackio, wandb, mlflow comet and swanlab logging.'),
    Field(name='project', kinds=('str',), default='huggingface', help='The name of the project to use for logging. Currently, only used by Trackio.'),
    Field(name='trackio_space_id', kinds=('str',), default=None, optional=True, help="Hugging Face Space id for live Gradio-based Trackio logging (read/write Bucket access). Use 'username/reponame', 'orgname/reponame', or 'reponame' (current user's namespace). None: log only locally, no Space. Prefer trackio_static_space_id for stable post-training dashboard links. Public unless hub_private_repo=True or org default."),
    Field(name='trackio_bucket_id', kinds=('str',), default=None, optional=True, help='Optional HF Bucket id when using a Trackio Space; if unset, Trackio picks a default.'),
    Field(name='trackio_static_space_id', kinds=('str', 'bool'), default=None, optional=True, help='Static read-only Trackio Space over the Bucket (stable model-card links). False: no static sync on Hub push and no freeze after training. None/str: allow static Space; for local-only logging, Hub push runs sync(static); after training, freeze runs only if trackio_space_id was set (Gradio Space). str sets explicit static Space id. Public unless hub_private_repo=True or org default.'),
    Field(name='eval_strategy', kinds=('str',), default='no', choices=('no', 'steps', 'epoch'), help="When to run evaluation. Options: 'no', 'steps', 'epoch'."),
    Field(name='eval_steps', kinds=('int', 'float'), default=None, optional=True, help="Number of update steps between evaluations if `eval_strategy='steps'`. Defaults to `logging_steps` if not set. Should be an integer or a float in range `[0,1)`. If smaller than 1, will be interpreted as ratio of total training steps."),
    Field(name='eval_delay', kinds=('float',), default=0, help='Number of epochs or steps to wait for before the first evaluation can be performed, depending on the eval_strategy.'),
    Field(name='per_device_eval_batch_size', kinds=('int',), default=8, help='The batch size per device (GPU/TPU core/CPU) for evaluation.'),
    Field(name='prediction_loss_only', kinds=('bool',), default=False, help='When performing evaluation and generating predictions, only returns the loss.'),
    Field(name='eval_on_start', kinds=('bool',), default=False, help='Whether to run through the entire `evaluation` step at the very beginning of training as a sanity check.'),
    Field(name='eval_do_concat_batches', kinds=('bool',), default=True, help='Whether to recursively concat inputs/losses/labels/predictions across batches. If `False`, will instead store them as lists, with each batch kept separate.'),
    Field(name='eval_use_gather_object', kinds=('bool',), default=False, help='Whether to run recursively gather object in a nested list/tuple/dictionary of objects from all devices.'),
    Field(name='eval_accumulation_steps', kinds=('int',), default=None, optional=True, help='Number of predictions steps to accumulate the output tensors for, before moving the results to the CPU. If unset, predictions are accumulated on the accelerator before being moved to the CPU.'),
    Field(name='include_for_metrics', kinds=('list[str]',), default=[], help="Include additional data in the `compute_metrics` function. Options: 'inputs', 'loss'."),
    Field(name='batch_eval_metrics', kinds=('bool',), default=False, help='Break eval metrics calculation into batches to save memory.'),
    Field(name='save_only_model', kinds=('bool',), default=False, help='Save only model weights, not optimizer/scheduler/RNG state. Prevents resuming training from checkpoint.'),
    Field(name='save_strategy', kinds=('str',), default='steps', choices=('no', 'steps', 'epoch', 'best'), help="The checkpoint save strategy to adopt during training. Options: 'no', 'epoch', 'steps', 'best'."),
    Field(name='save_steps', kinds=('int', 'float'), default=500, help='Save checkpoint every X updates steps. Should be an integer or a float in range `[0,1)`. If smaller than 1, will be interpreted as ratio of total training steps.'),
    Field(name='save_on_each_node', kinds=('bool',), default=False, help='When doing multi-node distributed training, whether to save models and checkpoints on each node, or only on the main one'),
    Field(name='save_total_limit', kinds=('int',), default=None, optional=True, help='Maximum number of checkpoints to keep. Deletes older checkpoints in `output_dir`. The best checkpoint is always retained when `load_best_model_at_end=True`.'),
    Field(name='enable_jit_checkpoint', kinds=('bool',), default=False, help="Enable JIT checkpointing on SIGTERM signal for graceful termination on preemptible workloads. Configure your orchestrator's graceful shutdown period accordingly."),
    Field(name='push_to_hub', kinds=('bool',), default=False, help='Whether or not to push the model to the Hub every time the model is saved.'),
    Field(name='hub_token', kinds=('str',), default=None, optional=True, help='The token to use to push the model to the Hub. Defaults to the token from `hf auth login`.', secret=True),
    Field(name='hub_private_repo', kinds=('bool',), default=None, optional=True, help="Whether to make the repo private. If `None` (default), the repo will be public unless the organization's default is private. This value is ignored if the repo already exists. If reporting to Trackio Spaces created or synced (including on Hub push when `trackio_space_id` is None) use the same logic for whether the Space is private."),
    Field(name='hub_model_id', kinds=('str',), default=None, optional=True, help='The name of the repository to keep in sync with the local `output_dir`.'),
    Field(name='hub_strategy', kinds=('str',), default='every_save', choices=('end', 'every_save', 'checkpoint', 'all_checkpoints'), help="Defines what and when to push to Hub. Options: 'end', 'every_save', 'checkpoint', 'all_checkpoints'."),
    Field(name='hub_always_push', kinds=('bool',), default=False, help="Unless `True`, the Trainer will skip pushes if the previous one wasn't finished yet."),
    Field(name='hub_revision', kinds=('str',), default=None, optional=True, help='The revision to use when pushing to the Hub. Can be a branch name, a tag, or a commit hash.'),
    Field(name='load_best_model_at_end', kinds=('bool',), default=False, help='Load the best checkpoint at the end of training. Requires `eval_strategy` to be set.'),
    Field(name='metric_for_best_model', kinds=('str',), default=None, optional=True, help="Metric to use for comparing models when `load_best_model_at_end=True`. Defaults to 'loss'."),
    Field(name='greater_is_better', kinds=('bool',), default=None, optional=True, help='Whether higher metric values are better. Defaults based on `metric_for_best_model`.'),
    Field(name='ignore_data_skip', kinds=('bool',), default=False, help='When resuming training, skip fast-forwarding through the dataset to reach the previous state. If True, training starts from the beginning of the dataset.'),
    Field(name='restore_callback_states_from_checkpoint', kinds=('bool',), default=False, help='Whether to restore the callback states from the checkpoint. If `True`, will override callbacks passed to the `Trainer` if they exist in the checkpoint.'),
    Field(name='full_determinism', kinds=('bool',), default=False, help='Whether to call enable_full_determinism instead of set_seed for reproducibility in distributed training. Important: this will negatively impact the performance, so only use it for debugging.'),
    Field(name='seed', kinds=('int',), default=42, help='Random seed that will be set at the beginning of training.'),
    Field(name='data_seed', kinds=('int',), default=None, optional=True, help='Random seed to be used with data samplers. If not set, uses the same seed as `seed`.'),
    Field(name='use_cpu', kinds=('bool',), default=False, help='Whether or not to use cpu. If set to False, we will use the available torch device/backend.'),
    Field(name='accelerator_config', kinds=('dict', 'str'), default=None, optional=True, help='Configuration for the internal Accelerate integration. Can be a path to a JSON config file or a dict.'),
    Field(name='parallelism_config', kinds=('dict',), default=None, optional=True, help='Parallelism configuration for the training run. Requires Accelerate `1.10.1`.'),
    Field(name='dataloader_drop_last', kinds=('bool',), default=False, help='Drop the last incomplete batch if it is not divisible by the batch size.'),
    Field(name='dataloader_num_workers', kinds=('int',), default=0, help='Number of subprocesses to use for data loading (PyTorch only). 0 means that the data will be loaded in the main process.'),
    Field(name='dataloader_pin_memory', kinds=('bool',), default=True, help='Whether or not to pin memory for DataLoader.'),
    Field(name='dataloader_persistent_workers', kinds=('bool',), default=False, help='If True, the data loader will not shut down the worker processes after a dataset has been consumed once. This allows to maintain the workers Dataset instances alive. Can potentially speed up training, but will increase RAM usage.'),
    Field(name='dataloader_prefetch_factor', kinds=('int',), default=None, optional=True, help='Number of batches loaded in advance by each worker. 2 means there will be a total of 2 * num_workers batches prefetched across all workers.'),
    Field(name='dataloader_multiprocessing_context', kinds=('str',), default=None, optional=True, choices=('fork', 'spawn', 'forkserver'), help="The multiprocessing start method to use for data loading workers ('fork', 'spawn', or 'forkserver'). Defaults to PyTorch's default, except on MPS with dataloader_num_workers > 1, where it defaults to 'fork'. Use 'spawn' when streaming from sources whose objects are not fork-safe (e.g. HDFS via pyarrow). Under 'spawn', any custom collate_fn / dataset code must be importable at module level (no lambdas/closures)."),
    Field(name='dataloader_in_order', kinds=('bool',), default=True, help='If True (default), the data loader yields batches in the order workers were dispatched. Set to False to yield batches as soon as they are ready, reducing tail latency for IterableDataset streaming workloads. Requires PyTorch >= 2.6.'),
    Field(name='remove_unused_columns', kinds=('bool',), default=True, help='Whether or not to automatically remove the columns unused by the model forward method.'),
    Field(name='label_names', kinds=('list[str]',), default=None, optional=True, help='The list of keys in your dictionary of inputs that correspond to the labels.'),
    Field(name='train_sampling_strategy', kinds=('str',), default='random', choices=('random', 'sequential', 'group_by_length', 'batch_rebalance'), help="Sampler for training: 'random' (default), 'sequential', 'group_by_length', or 'batch_rebalance'."),
    Field(name='length_column_name', kinds=('str',), default='length', help="Column name for precomputed lengths. Ignored unless `train_sampling_strategy` is 'group_by_length' or 'batch_rebalance'."),
    Field(name='ddp_find_unused_parameters', kinds=('bool',), default=None, optional=True, help='When using distributed training, the value of the flag `find_unused_parameters` passed to `DistributedDataParallel`.'),
    Field(name='ddp_bucket_cap_mb', kinds=('int',), default=None, optional=True, help='When using distributed training, the value of the flag `bucket_cap_mb` passed to `DistributedDataParallel`.'),
    Field(name='ddp_broadcast_buffers', kinds=('bool',), default=None, optional=True, help='When using distributed training, the value of the flag `broadcast_buffers` passed to `DistributedDataParallel`.'),
    Field(name='ddp_static_graph', kinds=('bool',), default=None, optional=True, help='When using distributed training, the value of the flag `static_graph` passed to `DistributedDataParallel`.'),
    Field(name='ddp_backend', kinds=('str',), default=None, optional=True, choices=('nccl', 'gloo', 'mpi', 'xccl', 'hccl', 'cncl', 'mccl'), help="The backend to use for distributed training. Must be one of 'nccl', 'mpi', 'xccl', 'gloo', 'hccl'."),
    Field(name='ddp_timeout', kinds=('int',), default=1800, help='The timeout for `torch.distributed.init_process_group` calls (in seconds).'),
    Field(name='fsdp', kinds=('bool', 'str'), default=None, optional=True, help='Enable PyTorch Fully Sharded Data Parallel (FSDP) for distributed training. Pass `--fsdp` (or `fsdp=True`) to turn FSDP on.', const='True'),
    Field(name='fsdp_config', kinds=('dict', 'str'), default=None, optional=True, help='Tuning for FSDP (used only when `fsdp` is enabled). Either a path to a JSON config file (e.g., `fsdp_config.json`) or an already loaded dict.'),
    Field(name='deepspeed', kinds=('dict', 'str'), default=None, optional=True, help='Enable DeepSpeed integration. Value is a path to a JSON config file or a dict.'),
    Field(name='debug', kinds=('str', 'list[str]'), default='', choices=('underflow_overflow', 'tpu_metrics_debug'), help="Enable one or more debug features. Options: 'underflow_overflow' (detect overflow in model I/O), 'tpu_metrics_debug' (print TPU metrics)."),
    Field(name='skip_memory_metrics', kinds=('bool',), default=True, help='Whether to skip adding memory profiler reports to metrics. Skipped by default because it slows down training.'),
    Field(name='do_train', kinds=('bool',), default=False, help='Whether to run training. Not directly used by Trainer; intended for training/evaluation scripts.'),
    Field(name='do_eval', kinds=('bool',), default=False, help='Whether to run evaluation. Not directly used by Trainer; intended for training/evaluation scripts.'),
    Field(name='do_predict', kinds=('bool',), default=False, help='Whether to run predictions on the test set. Not directly used by Trainer; intended for training/evaluation scripts.'),
    Field(name='resume_from_checkpoint', kinds=('str',), default=None, optional=True, help='Path to a folder with a valid checkpoint for your model. Not directly used by Trainer; intended for training/evaluation scripts.'),
    Field(name='local_rank', kinds=('int',), default=-1, help='When using torch.distributed.launch (Deprecated), it will pass `local_rank` in the script, so we need this for the parser. To get the local rank, prefer using the property `local_process_index`'),
)
