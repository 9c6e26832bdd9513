"""The 150 operators most used in ordinary PyTorch code, as torch's operator database names them."""

_LISTED = """
    add sub mul div pow neg abs exp log log1p sqrt square sin cos tan tanh sigmoid floor ceil round sign remainder
    maximum minimum clamp eq ne lt le gt ge equal logical_and logical_or logical_not bitwise_and isnan isfinite
    where masked_fill masked_select sum mean std var prod amax amin max.reduction_with_dim min.reduction_with_dim
    max.reduction_no_dim argmax argmin any all norm logsumexp cumsum cumprod nanmean sort topk argsort unique
    matmul mm bmm mv dot outer einsum addmm linalg.solve linalg.inv linalg.det linalg.cholesky linalg.qr
    linalg.svd linalg.eigh linalg.norm view reshape flatten squeeze unsqueeze permute transpose t expand repeat tile
    cat stack split chunk unbind roll flip tril triu diag diagonal meshgrid.list_of_tensors __getitem__ gather
    scatter scatter_add index_select index_add nonzero zeros_like ones_like full_like clone to contiguous
    nn.functional.linear nn.functional.conv1d nn.functional.conv2d nn.functional.conv_transpose2d
    nn.functional.max_pool2d nn.functional.avg_pool2d nn.functional.adaptive_avg_pool2d nn.functional.batch_norm
    nn.functional.layer_norm nn.functional.group_norm nn.functional.embedding nn.functional.dropout
    nn.functional.scaled_dot_product_attention nn.functional.relu nn.functional.gelu nn.functional.silu
    nn.functional.leaky_relu nn.functional.elu nn.functional.softplus softmax log_softmax
    nn.functional.cross_entropy nn.functional.nll_loss nn.functional.mse_loss nn.functional.l1_loss
    nn.functional.smooth_l1_loss nn.functional.binary_cross_entropy nn.functional.binary_cross_entropy_with_logits
    nn.functional.kl_div nn.functional.cosine_similarity nn.functional.interpolate nn.functional.pad
    nn.functional.one_hot nn.functional.normalize
"""
MOST_USED = tuple(_LISTED.split())
