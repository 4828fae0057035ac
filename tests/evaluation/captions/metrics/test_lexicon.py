from trichord.evaluation.captions.metrics import lexicon


def test_a_word_means_its_own_synonym_sets(made_up):
    words = lexicon.read(made_up)
    assert words.meanings("dog") == {"1", "2"}
    assert words.meanings("unknown") == frozenset()


def test_a_form_means_what_its_base_means(made_up):
    words = lexicon.read(made_up)
    assert words.meanings("beaches") == {"5"}  # by rule: -ches is -ch
    assert words.meanings("hounds") == {"2"}
    assert words.meanings("mice") == {"3"}  # by the list of exceptions
    assert words.meanings("lay") == {"6"}  # two bases, one without synonyms


def test_prefixes_keep_their_dot_always_or_before_numbers(made_up):
    assert lexicon.read(made_up).prefixes == {"Mr": "always", "No": "before a number"}


def test_only_paraphrases_with_both_sides_in_the_captions_are_kept(made_up):
    captions = [("he", "is", "next", "to", "the", "sea"), ("close", "by"), ("beside",)]
    assert lexicon.paraphrases(made_up, captions) == {
        ("next", "to"): [("beside",)],
        ("beside",): [("close", "by")],
    }


def test_the_table_is_read_alike_however_it_is_cut(made_up, monkeypatch):
    monkeypatch.setattr(lexicon, "_CHUNK", 5)
    assert lexicon.paraphrases(made_up, [("the", "ocean"), ("sea",)]) == {
        ("sea",): [("the", "ocean")]
    }


def test_the_real_lists(word_lists):
    words = lexicon.read(word_lists)
    assert len(words.function_words) == 93
    # WordNet 3.0: "someone who is morally reprehensible" is a dog and a hound; an animal only a dog.
    assert words.meanings("dog") & words.meanings("hounds") == {"09886220"}
    assert words.meanings("mice") >= words.meanings("mouse") > set()
    assert words.prefixes["No"] == "before a number"
