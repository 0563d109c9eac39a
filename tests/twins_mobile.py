"""The small and the scaled networks' rows of the table in `twins`."""

from twins import of_timm, tv, twin

twin("mobilenetv1_100", of_timm("mobilenetv1_100"), trains=True, draws=False)
twin("mobilenetv1_125", of_timm("mobilenetv1_125"), slow=True)
twin("mobilenet_v2", tv("mobilenet_v2"), trains=True)
twin("mobilenet_v3_small", tv("mobilenet_v3_small"), trains=True)
twin("mobilenet_v3_large", tv("mobilenet_v3_large"), slow=True)
twin("shufflenet_v2_x0_5", tv("shufflenet_v2_x0_5"), trains=True)
for size in ("x1_0", "x1_5", "x2_0"):
    twin(f"shufflenet_v2_{size}", tv(f"shufflenet_v2_{size}"), slow=True)
twin("efficientnet_b0", tv("efficientnet_b0"), trains=True)
for i in range(1, 8):
    twin(f"efficientnet_b{i}", tv(f"efficientnet_b{i}"), slow=True)
twin("efficientnet_v2_s", tv("efficientnet_v2_s"), size=(33, 47), trains=True)
twin("efficientnet_v2_m", tv("efficientnet_v2_m"), slow=True)
twin("efficientnet_v2_l", tv("efficientnet_v2_l"), slow=True)
twin("convnext_tiny", tv("convnext_tiny"), trains=True)
for size in ("small", "base", "large"):
    twin(f"convnext_{size}", tv(f"convnext_{size}"), slow=True)
twin("mobilevit_xxs", of_timm("mobilevit_xxs"), trains=True, draws=False)
twin("mobilevit_xs", of_timm("mobilevit_xs"), slow=True)
twin("mobilevit_s", of_timm("mobilevit_s"), size=(75, 97), slow=True)
