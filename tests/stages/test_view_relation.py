import torch

from stages.view_relation import pool_tokens, view_relation


def test_tokens_are_means_of_cells_row_by_row():
    features = torch.arange(2 * 3 * 4 * 6.0).reshape(2, 3, 4, 6)
    tokens = pool_tokens(features, (2, 3))
    assert tokens.shape == (2, 6, 3)
    assert torch.equal(tokens[1, 4], features[1, :, 2:4, 2:4].mean(dim=(-1, -2)))


def test_tokens_of_a_batch_of_rigs_are_those_of_its_rigs():
    features = torch.randn(3, 6, 5, 7, 9)
    assert torch.equal(pool_tokens(features, (2, 4))[1], pool_tokens(features[1], (2, 4)))


def test_half_precision_features_are_averaged_in_float32():
    features = torch.full((1, 1, 64, 64), 1000.0, dtype=torch.float16)
    assert pool_tokens(features, (1, 1)).item() == 1000.0


def test_relation_is_cosine_similarity_of_the_named_pairs():
    tokens = torch.randn(2, 6, 4, 8)
    pairs = [(0, 1), (5, 0)]
    relation = view_relation(tokens, pairs)
    assert relation.shape == (2, 2, 4, 4)
    expected = torch.cosine_similarity(tokens[1, 5, 2], tokens[1, 0, 3], dim=0)
    torch.testing.assert_close(relation[1, 1, 2, 3], expected)


def test_relation_ignores_the_scale_of_tokens():
    tokens = torch.randn(6, 4, 8, dtype=torch.float64)
    torch.testing.assert_close(view_relation(tokens, [(0, 1)]), view_relation(7 * tokens, [(0, 1)]))


def test_relation_of_zero_tokens_is_zero_with_a_finite_gradient():
    tokens = torch.zeros(2, 3, 4, requires_grad=True)
    relation = view_relation(tokens, [(0, 1)])
    relation.sum().backward()
    assert torch.equal(relation, torch.zeros(1, 3, 3))
    assert tokens.grad.isfinite().all()


def test_deviations_have_no_part_that_all_tokens_of_a_rig_share():
    tokens, common = torch.randn(2, 6, 4, 8, dtype=torch.float64), 100 * torch.randn(2, 1, 1, 8, dtype=torch.float64)
    pairs = [(0, 1), (5, 0)]
    relation = view_relation(tokens, pairs, "deviations")
    torch.testing.assert_close(view_relation(tokens + common, pairs, "deviations"), relation)
    assert (view_relation(tokens + common, pairs) > 0.9).all()
    mean = tokens[1].mean(dim=(0, 1))
    expected = torch.cosine_similarity(tokens[1, 5, 2] - mean, tokens[1, 0, 3] - mean, dim=0)
    torch.testing.assert_close(relation[1, 1, 2, 3], expected)


def test_views_that_are_not_whole_have_no_part_in_the_mean():
    tokens, whole = torch.randn(2, 3, 4, 8), torch.tensor([[True, True, False], [False, False, False]])
    relation = view_relation(tokens, [(0, 1)], "deviations", whole)
    torch.testing.assert_close(relation[:1], view_relation(tokens[:1, :2], [(0, 1)], "deviations"))
    assert relation.isfinite().all()


def test_no_pairs_give_an_empty_relation():
    assert view_relation(torch.randn(6, 4, 8), []).shape == (0, 4, 4)


def test_relation_gradient():
    tokens = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    for of in ("tokens", "deviations"):
        assert torch.autograd.gradcheck(lambda t, of=of: view_relation(t, [(0, 1), (1, 2), (2, 0)], of), tokens)
