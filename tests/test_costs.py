from larq_nas import costs, zoo


def test_bnas_a_costs_what_was_published():
    # 175 M FLOPs (without the classifier) and 1393 M BiOps in the table of BARS, two for each multiply-accumulate.
    counts = costs.count(zoo.genotype("bnas_a"), (32, 32, 3), 10)
    assert counts["parameters"] == 5_578_252
    assert 2 * (counts["float_macs"] - 5_760) // 10**6 == 175
    assert 2 * counts["binary_macs"] // 10**6 == 1393
    assert counts["bytes"] == zoo.bnas.VARIANTS["bnas_a"].memory
