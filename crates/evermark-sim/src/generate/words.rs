//! Words with frequencies like those of prose.

use fastrand::Rng;

/// Words between the words that carry meaning.
const SMALL: &str =
    "the a to of and in was is for on with that it his her my at by from about after before we they i you";

/// Words people use in conversations about their days.
const REAL: &str = "time people work home food dinner lunch breakfast coffee tea water river garden kitchen table window \
    house street city train station bus ticket flight hotel museum park beach mountain forest lake island bridge road \
    car bike running swimming hiking yoga doctor knee pain sleep weight waist pressure medicine hospital appointment \
    school teacher student lesson homework exam book library novel poem song guitar piano concert movie theater camera \
    photo picture paint drawing color blue green yellow orange purple silver gold market shop price money budget bank \
    account invoice payment contract meeting project deadline report client manager colleague team office desk laptop \
    phone server database backup deploy release version branch merge review test build docker cluster network firewall \
    password login token cache memory search index vector query latency error warning log metric dashboard alert \
    birthday wedding party gift present cake candle flower rose letter postcard family mother father sister brother \
    daughter uncle cousin neighbor friend dog cat rabbit horse bird fish turtle hot pot noodle rice soup bread cheese \
    butter salad tomato potato onion garlic pepper chicken beef pork shrimp tofu mushroom apple banana cherry grape \
    lemon peach winter summer spring autumn rain snow storm cloud wind sunny warm cold morning evening night weekend \
    monday friday sunday january april june september travel visit plan prefer like love hate want need buy sell cook \
    eat drink read write learn teach play watch listen walk drive fly swim climb call answer ask remember forget decide \
    move live stay leave arrive start finish open close break repair clean wash paint borrow lend save spend win lose";

const NAMES: &str = "Mira Jonas Aiko Pedro Lena Omar Ravi Sofia Chen Nadia Tomas Ingrid Yusuf Clara Diego Hana Pavel Zoe \
    Marta Ivan Noor Elif Kofi Anya";

const CHINESE: &str = "我们 今天 明天 昨天 早上 晚上 喜欢 想要 需要 觉得 知道 火锅 四川 北京 上海 成都 旅游 故宫 长城 公园 \
    火车 飞机 酒店 咖啡 喝茶 吃饭 早餐 午饭 晚饭 米饭 面条 豆腐 牛肉 鸡肉 蔬菜 水果 苹果 香蕉 体重 腰围 膝盖 康复 训练 \
    跑步 游泳 散步 医生 医院 吃药 睡觉 健康 血压 工作 公司 会议 项目 计划 报告 客户 同事 经理 电脑 手机 服务器 数据库 \
    学习 学校 老师 学生 考试 作业 图书馆 小说 音乐 电影 照相 画画 颜色 蓝色 绿色 天气 下雨 下雪 春天 夏天 秋天 冬天 \
    妈妈 爸爸 姐姐 弟弟 朋友 邻居 生日 礼物 蛋糕 婚礼 周末 星期一 星期五 价格 便宜 花钱 银行 买菜 做饭 打扫 搬家 记得";

/// Made-up words besides: with the real ones about what one person's notes hold.
const N_MADE_UP: usize = 12_000;

/// A source of words, and the dice behind it.
pub(super) struct Words {
    pub(super) rng: Rng,
    content: Vec<String>,
    /// Sums of the frequencies up to each word.
    sums: Vec<f64>,
    small: Vec<&'static str>,
    names: Vec<&'static str>,
    chinese: Vec<&'static str>,
}

impl Words {
    pub(super) fn new(seed: u64) -> Self {
        // One vocabulary for everybody: only its use depends on the seed.
        let mut maker = Rng::with_seed(7);
        let mut content: Vec<String> = REAL.split_whitespace().map(str::to_owned).collect();
        content.extend((0..N_MADE_UP).map(|_| made_up(&mut maker)));
        let mut sum = 0.0;
        let sums = (0..content.len())
            .map(|rank| {
                // Zipf with the usual exponent near 1; the offset flattens the very top, as without stop words.
                sum += 1.0 / (rank as f64 + 2.7).powf(1.05);
                sum
            })
            .collect();
        let split = |list: &'static str| list.split_whitespace().collect();
        Self {
            rng: Rng::with_seed(seed),
            content,
            sums,
            small: split(SMALL),
            names: split(NAMES),
            chinese: split(CHINESE),
        }
    }

    fn word(&mut self) -> &str {
        let at = self.rng.f64() * self.sums.last().copied().unwrap_or_default();
        let rank = self.sums.partition_point(|&sum| sum < at).min(self.content.len() - 1);
        &self.content[rank]
    }

    pub(super) fn name(&mut self) -> String {
        self.names[self.rng.usize(0..self.names.len())].to_owned()
    }

    /// Returns words that carry meaning.
    pub(super) fn content(&mut self, n_words: usize) -> String {
        (0..n_words).map(|_| self.word().to_owned()).collect::<Vec<_>>().join(" ")
    }

    /// Returns Chinese words without spaces.
    pub(super) fn chinese(&mut self, n_words: usize) -> String {
        (0..n_words).map(|_| self.chinese[self.rng.usize(0..self.chinese.len())]).collect()
    }

    /// Returns something to say: 8 to 18 words, or 6 to 14 in Chinese.
    pub(super) fn sentence(&mut self, is_chinese: bool) -> String {
        if is_chinese {
            let n_words = self.rng.usize(6..=14);
            return self.chinese(n_words) + "。";
        }
        let n_words = self.rng.usize(8..=18);
        let mut said = self.name();
        for n in 1..n_words {
            said.push(' ');
            if n % 3 == 0 {
                said.push_str(self.small[self.rng.usize(0..self.small.len())]);
            } else {
                let word = self.word().to_owned();
                said.push_str(&word);
            }
        }
        said.push('.');
        said
    }
}

fn made_up(rng: &mut Rng) -> String {
    const STARTS: [&str; 20] =
        ["b", "br", "c", "ch", "d", "dr", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "st", "t", "v", "w"];
    const MIDDLES: [&str; 8] = ["a", "e", "i", "o", "u", "ai", "ea", "oo"];
    const ENDS: [&str; 10] = ["n", "r", "l", "t", "k", "m", "nd", "x", "rk", "p"];
    let mut word = String::new();
    for _ in 0..rng.usize(1..=3) {
        word.push_str(STARTS[rng.usize(0..STARTS.len())]);
        word.push_str(MIDDLES[rng.usize(0..MIDDLES.len())]);
    }
    word.push_str(ENDS[rng.usize(0..ENDS.len())]);
    word
}
