from caption_metrics import lexicon


def test_a_word_has_its_own_synonym_sets(made_up):
    words = lexicon.load(made_up)
    assert words.synsets_of("dog") == {"1", "2"}
    assert words.synsets_of("unknown") == frozenset()


def test_a_form_has_the_synonym_sets_of_its_base(made_up):
    words = lexicon.load(made_up)
    assert words.synsets_of("beaches") == {"5"}  # by rule: -ches is -ch
    assert words.synsets_of("hounds") == {"2"}
    assert words.synsets_of("mice") == {"3"}  # by the list of exceptions
    assert words.synsets_of("lay") == {"6"}  # two bases, one without synonyms


def test_prefixes_keep_their_dot_always_or_before_numbers(made_up):
    assert lexicon.load(made_up).prefixes == {"Mr": "always", "No": "before a number"}


def test_only_paraphrases_with_both_sides_in_the_captions_are_kept(made_up):
    captions = [("he", "is", "next", "to", "the", "sea"), ("close", "by"), ("beside",)]
    assert lexicon.load_paraphrases(made_up, captions) == {
        ("next", "to"): [("beside",)],
        ("beside",): [("close", "by")],
    }


def test_the_table_is_read_the_same_in_chunks_of_any_size(made_up, monkeypatch):
    monkeypatch.setattr(lexicon, "_CHUNK", 5)
    assert lexicon.load_paraphrases(made_up, [("the", "ocean"), ("sea",)]) == {
        ("sea",): [("the", "ocean")]
    }


def test_the_real_lists(word_lists):
    words = lexicon.load(word_lists)
    assert len(words.function_words) == 93
    # WordNet 3.0: "someone who is morally reprehensible" is a dog and a hound; an animal only a dog.
    assert words.synsets_of("dog") & words.synsets_of("hounds") == {"09886220"}
    assert words.synsets_of("mice") >= words.synsets_of("mouse") > set()
    assert words.prefixes["No"] == "before a number"
