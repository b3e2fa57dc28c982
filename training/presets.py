"""The recipes of the paper and of the embedded networks."""

from dataclasses import replace

from training.config import TrainingConfig

# Two processes of 8 images make the paper's batch of 16: `accelerate launch --num_processes 2 -m training.train`.
_PAPER = TrainingConfig(clip="openai/clip-vit-base-patch32")
_MINI = TrainingConfig(  # masks are drawn, so that a folder of images is all that a run needs
    holdout=16,
    mask_mix=[0.0, 0.4, 0.6],
    lambda_perceptual=0.0,
    embedding_noise=0.2,
    style_dim=128,
    max_train_steps=4000,
    beta1=0.9,
    checkpointing_steps=250,
)
_LATENT = replace(
    _MINI,
    channels=[128, 160, 192],
    blocks=1,
    decoder="taef2",
    discriminator_channels=[96, 128, 192],
    lambda_clip=0.25,
    clip_every=8,
    lambda_perceptual=1.0,
    swap_probability=0.5,
    lambda_adversarial=0.12,
    lambda_matching=1.0,
    adversarial_start=1000,
    condition_dropout=0.1,
    train_batch_size=16,
    discriminator_rate=0.1,
    beta1=0.0,
    max_grad_norm=1.0,
    ema_half_life=3000,
)
PRESETS = {
    "inpainting-ffhq-256": _PAPER,
    "super-resolution-ffhq-512": replace(
        _PAPER,
        task="super-resolution",
        sample_size=512,
        channels=[64, 128, 256, 512, 512, 512],
        discriminator_channels=[64, 128, 256, 512, 512],
        lambda_clip=0.1,
    ),
    "colorization-imagenet-256": replace(_PAPER, task="colorization", lambda_clip=0.1),
    "textir-mini-inpainting": _LATENT,
    "textir-mini-super-resolution": replace(_LATENT, task="super-resolution"),
    "textir-mini-colorization": replace(
        _MINI,
        task="colorization",
        sample_size=128,
        channels=[32, 64, 128, 192],
        discriminator_channels=[16, 32, 64, 128],
        lambda_clip=1.0,
        lambda_adversarial=0.02,
        adversarial_start=1500,
    ),
}
# where the recipe comes from, and the result that it should reach
SOURCES = dict.fromkeys(PRESETS, ("textir_hf: sized for two CPU cores", "")) | {
    "inpainting-ffhq-256": (
        "TextIR, Sec. 4.1: FFHQ at 256x256, batch 16, 300,000 steps, irregular masks",
        "Table 1, Multi-Modal-CelebA-HQ: PSNR 29.83, SSIM 0.932, LPIPS 0.068",
    ),
    "super-resolution-ffhq-512": (
        "TextIR, Sec. 4.1: FFHQ at 512x512, batch 16, 300,000 steps, factors 4 to 64",
        "Table 3, Multi-Modal-CelebA-HQ at 16x: PSNR 27.41, SSIM 0.784, LPIPS 0.227",
    ),
    "colorization-imagenet-256": (
        "TextIR, Sec. 4.1: ImageNet at 256x256, batch 16, 300,000 steps",
        "Table 2, COCO-Stuff: PSNR 26.70, SSIM 0.923, LPIPS 0.124",
    ),
}
