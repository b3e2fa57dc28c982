"""The recipes of the paper and of the embedded networks."""

from training.config import TrainingConfig

# Two processes of 8 images make the paper's batch of 16: `accelerate launch --num_processes 2 -m training.train`.
_PAPER = TrainingConfig().replace(clip="openai/clip-vit-base-patch32")
_MINI = TrainingConfig().replace(
    source="textir_hf: sized for two CPU cores",
    split_column="split",
    mask_mix=[0.25, 0.25, 0.5],
    cache_embeddings=True,
    sample_size=128,
    channels=[32, 64, 128, 192],
    style_dim=128,
    discriminator_channels=[16, 32, 64, 128],
    lambda_adversarial=0.02,
    lambda_perceptual=0.0,
    lambda_features=0.3,
    embedding_noise=0.2,
    clip_start=500,
    adversarial_start=1500,
    train_batch_size=8,
    max_train_steps=4000,
    beta1=0.9,
    checkpointing_steps=250,
    validation_steps=250,
)
_LATENT = _MINI.replace(
    sample_size=256,
    channels=[128, 160, 192],
    blocks=1,
    decoder="taef2",
    discriminator="latent",
    discriminator_channels=[96, 128, 192],
    cache_embeddings=False,
    lambda_features=0.0,
    lambda_adversarial=0.05,
    lambda_matching=0.5,
    lambda_clip=0.0,
    max_grad_norm=1.0,
    learning_rate=2e-3,
    discriminator_rate=0.1,
    train_batch_size=16,
    adversarial_start=600,
    ema_half_life=3000,
    condition_dropout=0.1,
)
PRESETS = {
    "inpainting-ffhq-256": _PAPER.replace(
        face_template="ffhq",
        source="TextIR, Sec. 4.1: FFHQ at 256x256, batch 16, 300,000 steps, irregular masks",
        expected="Table 1, Multi-Modal-CelebA-HQ: PSNR 29.83, SSIM 0.932, LPIPS 0.068",
    ),
    "super-resolution-ffhq-512": _PAPER.replace(
        task="super-resolution",
        sample_size=512,
        face_template="ffhq",
        channels=[64, 128, 256, 512, 512, 512],
        discriminator_channels=[64, 128, 256, 512, 512],
        lambda_clip=0.1,
        source="TextIR, Sec. 4.1: FFHQ at 512x512, batch 16, 300,000 steps, factors 4 to 64",
        expected="Table 3, Multi-Modal-CelebA-HQ at 16x: PSNR 27.41, SSIM 0.784, LPIPS 0.227",
    ),
    "colorization-imagenet-256": _PAPER.replace(
        task="colorization",
        lambda_clip=0.1,
        source="TextIR, Sec. 4.1: ImageNet at 256x256, batch 16, 300,000 steps",
        expected="Table 2, COCO-Stuff: PSNR 26.70, SSIM 0.923, LPIPS 0.124",
    ),
    "textir-mini-inpainting": _LATENT.replace(face_template="portrait"),
    "textir-mini-super-resolution": _LATENT.replace(task="super-resolution", face_template="portrait"),
    "textir-mini-colorization": _MINI.replace(task="colorization", lambda_clip=1.0, lambda_features=0.15),
}
