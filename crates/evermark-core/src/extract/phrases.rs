//! Words that carry courtesy rather than content. Kept short on purpose: what is not listed is kept as a fact.

/// Whole sentences, lower case, without punctuation; wide scripts without spaces.
pub(super) const COURTESIES: &[&str] = &[
    "good morning", "good afternoon", "good evening", "good night", "thank you", "thank you so much", "thank you very much",
    "thanks a lot", "thanks so much", "many thanks", "you re welcome", "you're welcome", "no problem", "no worries", "got it",
    "i see", "sounds good", "sounds great", "all right", "of course", "see you", "see you later", "see you soon", "take care",
    "how are you", "nice to meet you", "that s great", "that's great", "that s right", "that's right", "makes sense",
    "i agree", "will do", "good to know", "talk to you later", "have a nice day", "have a good day", "my pleasure",
    "你好", "您好", "大家好", "早上好", "下午好", "晚上好", "早安", "晚安", "谢谢", "谢谢你", "谢谢您", "多谢", "非常感谢", "感谢",
    "好", "好的", "好吧", "好呀", "好啊", "行", "可以", "没问题", "是", "是的", "对", "对的", "嗯", "嗯嗯", "哦", "哈哈", "明白",
    "明白了", "知道了", "收到", "了解", "不客气", "不用谢", "再见", "拜拜", "回头见", "太好了", "当然",
    "こんにちは", "こんばんは", "おはよう", "おはようございます", "ありがとう", "ありがとうございます", "はい", "わかりました",
    "了解です", "了解しました", "さようなら", "안녕하세요", "감사합니다", "고마워", "네", "알겠습니다",
];

/// Words that, a few of them alone, make no statement.
pub(super) const COURTEOUS_WORDS: &[&str] = &[
    "hi", "hello", "hey", "there", "all", "everyone", "thanks", "thank", "you", "ok", "okay", "yes", "yeah", "yep", "no", "nope",
    "sure", "great", "good", "nice", "cool", "perfect", "wow", "awesome", "fine", "right", "exactly", "indeed", "noted", "bye",
    "goodbye", "welcome", "please", "sorry", "haha", "lol", "hmm", "oh", "ah", "well", "agreed", "absolutely", "definitely",
    "understood", "alright", "cheers", "morning",
];

/// Endings that make a question without a question mark.
pub(super) const QUESTION_ENDINGS: &[&str] = &["吗", "吗呢", "呢", "么", "ですか", "ますか", "でしょうか", "나요", "까요", "습니까"];

/// Tells whether a stop after this word does not end a sentence.
pub(super) fn is_abbreviation(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "e.g", "i.e", "no", "approx", "inc", "ltd", "jr", "sr", "jan", "feb",
        "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec", "a.m", "p.m", "u.s", "u.k",
    ];
    let word = word.trim_start_matches(['(', '"', '\'']).to_lowercase();
    let single_letter = word.chars().count() == 1 && word.chars().all(char::is_alphabetic) && word != "i";
    single_letter || WORDS.contains(&word.as_str())
}
