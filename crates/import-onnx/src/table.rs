//! THE list of importable operators: (domain, name, first version of the operator set) to an import function.
//!
//! A node uses the entry with the largest version not above the model's. An operator whose meaning changed has an entry
//! per meaning; changes of types or of attributes' places are handled inside the function.

use crate::context::ImportFn;
use crate::ops;

/// One row.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Operator domain; empty for `ai.onnx`.
    pub domain: &'static str,
    /// Operator name in ONNX.
    pub name: &'static str,
    /// First version of the operator set with this meaning.
    pub since: i64,
    /// The import function.
    pub import: ImportFn,
}

/// Domain of ONNX Runtime's own operators.
pub const MICROSOFT: &str = "com.microsoft";
/// Domain of classical machine learning.
pub const ML: &str = "ai.onnx.ml";
/// Domain of training operators.
pub const TRAINING: &str = "ai.onnx.preview.training";

macro_rules! table {
    ($($domain:tt $name:ident $since:literal => $($import:ident)::+;)*) => {
        &[$(Entry { domain: table!(@domain $domain), name: stringify!($name), since: $since, import: ops::$($import)::+ }),*]
    };
    (@domain onnx) => { "" };
    (@domain microsoft) => { MICROSOFT };
    (@domain ml) => { ML };
    (@domain training) => { TRAINING };
}

/// Every importable operator.
pub const ALL: &[Entry] = table! {
    // -- elementwise
    onnx Abs 1 => elementwise::unary::abs;
    onnx Acos 1 => elementwise::unary::acos;
    onnx Acosh 1 => elementwise::unary::acosh;
    onnx Asin 1 => elementwise::unary::asin;
    onnx Asinh 1 => elementwise::unary::asinh;
    onnx Atan 1 => elementwise::unary::atan;
    onnx Atanh 1 => elementwise::unary::atanh;
    onnx Ceil 1 => elementwise::unary::ceil;
    onnx Cos 1 => elementwise::unary::cos;
    onnx Cosh 1 => elementwise::unary::cosh;
    onnx Erf 1 => elementwise::unary::erf;
    onnx Exp 1 => elementwise::unary::exp;
    onnx Floor 1 => elementwise::unary::floor;
    onnx Identity 1 => elementwise::unary::identity;
    onnx IsInf 1 => elementwise::unary::is_inf;
    onnx IsNaN 1 => elementwise::unary::is_nan;
    onnx Log 1 => elementwise::unary::log;
    onnx Neg 1 => elementwise::unary::neg;
    onnx Not 1 => elementwise::unary::not;
    onnx Reciprocal 1 => elementwise::unary::reciprocal;
    onnx Round 1 => elementwise::unary::round;
    onnx Sigmoid 1 => elementwise::unary::sigmoid;
    onnx Sign 1 => elementwise::unary::sign;
    onnx Sin 1 => elementwise::unary::sin;
    onnx Sinh 1 => elementwise::unary::sinh;
    onnx Softplus 1 => elementwise::unary::softplus;
    onnx Sqrt 1 => elementwise::unary::sqrt;
    onnx Tan 1 => elementwise::unary::tan;
    onnx Tanh 1 => elementwise::unary::tanh;
    onnx Celu 1 => elementwise::activation::celu;
    onnx Clip 1 => elementwise::activation::clip;
    onnx Elu 1 => elementwise::activation::elu;
    onnx Gelu 1 => elementwise::activation::gelu;
    onnx HardSigmoid 1 => elementwise::activation::hard_sigmoid;
    onnx HardSwish 1 => elementwise::activation::hard_swish;
    onnx LeakyRelu 1 => elementwise::activation::leaky_relu;
    onnx Mish 1 => elementwise::activation::mish;
    onnx PRelu 1 => elementwise::activation::prelu;
    onnx Relu 1 => elementwise::activation::relu;
    onnx Selu 1 => elementwise::activation::selu;
    onnx Shrink 1 => elementwise::activation::shrink;
    onnx Softsign 1 => elementwise::activation::softsign;
    onnx Swish 1 => elementwise::activation::swish;
    onnx ThresholdedRelu 1 => elementwise::activation::thresholded_relu;
    onnx Add 1 => elementwise::arithmetic::add;
    onnx Div 1 => elementwise::arithmetic::div;
    onnx Max 1 => elementwise::arithmetic::max;
    onnx Mean 1 => elementwise::arithmetic::mean;
    onnx Min 1 => elementwise::arithmetic::min;
    onnx Mod 1 => elementwise::arithmetic::modulo;
    onnx Mul 1 => elementwise::arithmetic::mul;
    onnx Pow 1 => elementwise::arithmetic::pow;
    onnx Sub 1 => elementwise::arithmetic::sub;
    onnx Sum 1 => elementwise::arithmetic::sum;
    onnx BitShift 1 => elementwise::bitwise::bit_shift;
    onnx BitwiseAnd 1 => elementwise::bitwise::bitwise_and;
    onnx BitwiseNot 1 => elementwise::bitwise::bitwise_not;
    onnx BitwiseOr 1 => elementwise::bitwise::bitwise_or;
    onnx BitwiseXor 1 => elementwise::bitwise::bitwise_xor;
    onnx And 1 => elementwise::comparison::and;
    onnx Equal 1 => elementwise::comparison::equal;
    onnx Greater 1 => elementwise::comparison::greater;
    onnx GreaterOrEqual 1 => elementwise::comparison::greater_or_equal;
    onnx Less 1 => elementwise::comparison::less;
    onnx LessOrEqual 1 => elementwise::comparison::less_or_equal;
    onnx Or 1 => elementwise::comparison::or;
    onnx Xor 1 => elementwise::comparison::xor;
    onnx Where 1 => elementwise::select::select;
    onnx Cast 6 => elementwise::cast::cast;
    onnx CastLike 1 => elementwise::cast::cast_like;
    onnx Constant 1 => constant::constant;

    // -- contractions
    onnx Conv 1 => conv::conv;
    onnx MatMul 1 => matmul::matmul;

    // -- movement
    onnx Reshape 5 => reshape::reshape;

    // -- spatial, normalization, quantization
    onnx ConvTranspose 1 => conv::conv_transpose;
    onnx DeformConv 19 => conv::deform_conv;
    onnx Col2Im 18 => conv::col2im;
    onnx MaxPool 1 => pool::max_pool;
    onnx AveragePool 1 => pool::average_pool;
    onnx LpPool 1 => pool::lp_pool;
    microsoft NhwcMaxPool 1 => pool::nhwc_max_pool;
    onnx GlobalMaxPool 1 => pool::global_max_pool;
    onnx GlobalAveragePool 1 => pool::global_average_pool;
    onnx GlobalLpPool 1 => pool::global_lp_pool;
    onnx MaxUnpool 9 => pool::max_unpool;
    onnx BatchNormalization 1 => norm::batch_normalization;
    onnx InstanceNormalization 1 => norm::instance_normalization;
    // ONNX took it over in version 17; ONNX Runtime, whose optimizer writes it into older models, knew it before.
    onnx LayerNormalization 1 => norm::layer_normalization;
    onnx GroupNormalization 18 => norm::group_normalization;
    onnx RMSNormalization 23 => norm::rms_normalization;
    onnx LRN 1 => norm::local_response_normalization;
    onnx LpNormalization 1 => norm::lp_normalization;
    onnx MeanVarianceNormalization 9 => norm::mean_variance_normalization;
    onnx Upsample 1 => image::upsample;
    onnx Resize 10 => image::resize_10;
    onnx Resize 11 => image::resize;
    onnx GridSample 16 => image::grid_sample;
    onnx AffineGrid 20 => image::affine_grid;
    onnx RoiAlign 10 => image::roi_align;
    onnx MaxRoiPool 1 => image::max_roi_pool;
    onnx QuantizeLinear 10 => quantize::quantize_linear;
    onnx DequantizeLinear 10 => quantize::dequantize_linear;
    onnx DynamicQuantizeLinear 11 => quantize::dynamic_quantize_linear;
    onnx ConvInteger 10 => quantized::conv_integer;
    onnx MatMulInteger 10 => quantized::matmul_integer;
    onnx QLinearConv 10 => quantized::qlinear_conv;
    onnx QLinearMatMul 10 => quantized::qlinear_matmul;
    microsoft QuantizeLinear 1 => quantize::quantize_linear;
    microsoft DequantizeLinear 1 => quantize::dequantize_linear;
    microsoft QLinearAdd 1 => quantized::qlinear_add;
    microsoft QLinearMul 1 => quantized::qlinear_mul;
    microsoft QLinearLeakyRelu 1 => quantized::qlinear_leaky_relu;
    microsoft QLinearSigmoid 1 => quantized::qlinear_sigmoid;
    microsoft QLinearWhere 1 => quantized::qlinear_where;
    microsoft QLinearConcat 1 => quantized::qlinear_concat;
    microsoft QLinearAveragePool 1 => quantized::qlinear_average_pool;
    microsoft QLinearGlobalAveragePool 1 => quantized::qlinear_global_average_pool;
    microsoft QLinearSoftmax 1 => quantized::qlinear_softmax;
    microsoft QLinearConv 1 => quantized::qlinear_conv;
    microsoft QGemm 1 => quantized::qgemm;
    microsoft QAttention 1 => microsoft_attention::quantized_attention;
    microsoft QEmbedLayerNormalization 1 => embedding::quantized_embed_layer_normalization;
    microsoft EmbedLayerNormalization 1 => embedding::embed_layer_normalization;
    microsoft MatMulNBits 1 => packed_weights::matmul_n_bits;
    microsoft MatMulBnb4 1 => packed_weights::matmul_bnb4;
    microsoft GatherBlockQuantized 1 => packed_weights::gather_block_quantized;
    microsoft DynamicQuantizeMatMul 1 => quantized::dynamic_quantize_matmul;
    microsoft MatMulIntegerToFloat 1 => quantized::matmul_integer_to_float;
    microsoft FusedConv 1 => fused::fused_conv;
    microsoft FusedGemm 1 => fused::fused_gemm;
    microsoft FusedMatMul 1 => fused::fused_matmul;
    microsoft Gelu 1 => fused::gelu;
    microsoft BiasGelu 1 => fused::bias_gelu;
    microsoft FastGelu 1 => fused::fast_gelu;
    microsoft QuickGelu 1 => fused::quick_gelu;
    onnx SimplifiedLayerNormalization 1 => fused::simplified_layer_normalization;
    microsoft SimplifiedLayerNormalization 1 => fused::simplified_layer_normalization;
    microsoft SkipLayerNormalization 1 => fused::skip_layer_normalization;
    microsoft SkipSimplifiedLayerNormalization 1 => fused::skip_simplified_layer_normalization;

    // -- control flow, sequences
    onnx If 1 => control::if_else;
    onnx Loop 1 => control::loop_while;
    onnx Scan 8 => control::scan_8;
    onnx Scan 9 => control::scan_9;
    onnx SequenceConstruct 11 => sequence::sequence_construct;
    onnx SequenceEmpty 11 => sequence::sequence_empty;
    onnx SequenceInsert 11 => sequence::sequence_insert;
    onnx SequenceErase 11 => sequence::sequence_erase;
    onnx SequenceAt 11 => sequence::sequence_at;
    onnx SequenceLength 11 => sequence::sequence_length;
    onnx ConcatFromSequence 11 => sequence::concat_from_sequence;
    onnx SplitToSequence 11 => sequence::split_to_sequence;
    onnx SequenceMap 17 => sequence::sequence_map;
    onnx Optional 15 => sequence::optional;
    onnx OptionalHasElement 15 => sequence::optional_has_element;
    onnx OptionalGetElement 15 => sequence::optional_get_element;

    // -- recurrent
    onnx RNN 7 => recurrent::rnn;
    onnx GRU 7 => recurrent::gru;
    onnx LSTM 7 => recurrent::lstm;
    microsoft DynamicQuantizeLSTM 1 => recurrent::dynamic_quantize_lstm;

    // -- attention, detection
    onnx Attention 23 => attention::attention;
    onnx RotaryEmbedding 23 => attention::rotary_embedding;
    microsoft RotaryEmbedding 1 => attention::microsoft_rotary_embedding;
    microsoft MultiHeadAttention 1 => microsoft_attention::multi_head_attention;
    microsoft GroupQueryAttention 1 => grouped_attention::group_query_attention;
    microsoft Attention 1 => microsoft_attention::attention;
    onnx NonMaxSuppression 10 => detection::non_max_suppression;

    // -- strings, images, classical machine learning
    onnx StringConcat 20 => host::strings::string_concat;
    onnx StringSplit 20 => host::strings::string_split;
    onnx StringNormalizer 10 => host::strings::string_normalizer;
    onnx RegexFullMatch 20 => host::strings::regex_full_match;
    onnx TfIdfVectorizer 9 => host::text::tf_idf_vectorizer;
    onnx ImageDecoder 20 => host::image::image_decoder;
    ml LabelEncoder 1 => classical::label_encoder;
    ml Binarizer 1 => classical::binarizer;
    ml Scaler 1 => classical::scaler;
    ml LinearRegressor 1 => classical::linear_regressor;
    ml LinearClassifier 1 => classifiers::linear_classifier;
    ml Normalizer 1 => classifiers::normalizer;
    ml TreeEnsemble 5 => trees::tree_ensemble;
    ml TreeEnsembleRegressor 1 => trees::tree_ensemble_regressor;
    ml TreeEnsembleClassifier 1 => classifiers::tree_ensemble_classifier;

    // -- movement, indexing, reductions, linear algebra, random, signal
    onnx Transpose 1 => movement::transpose;
    onnx Slice 1 => movement::slice;
    onnx Concat 1 => movement::concat;
    onnx Split 2 => movement::split;
    onnx Pad 1 => padding::pad;
    onnx CenterCropPad 18 => padding::center_crop_pad;
    onnx Tile 6 => movement::tile;
    onnx Expand 8 => movement::expand;
    onnx ConstantOfShape 9 => movement::constant_of_shape;
    onnx Squeeze 1 => movement::squeeze;
    onnx Unsqueeze 1 => movement::unsqueeze;
    onnx Flatten 1 => movement::flatten;
    onnx DepthToSpace 1 => movement::depth_to_space;
    onnx SpaceToDepth 1 => movement::space_to_depth;
    onnx Trilu 14 => movement::trilu;
    onnx ReverseSequence 10 => movement::reverse_sequence;
    onnx BitCast 26 => movement::bit_cast;
    onnx Shape 1 => movement::shape;
    onnx Size 1 => movement::size;
    onnx Gather 1 => index::gather;
    onnx GatherElements 11 => index::gather_elements;
    onnx GatherND 11 => index::gather_nd;
    onnx Scatter 9 => index::scatter_elements;
    onnx ScatterElements 11 => index::scatter_elements;
    onnx ScatterND 11 => index::scatter_nd;
    onnx TensorScatter 24 => index::tensor_scatter;
    onnx OneHot 9 => index::one_hot;
    onnx NonZero 9 => index::non_zero;
    onnx Compress 9 => index::compress;
    onnx Unique 11 => index::unique;
    onnx TopK 1 => index::top_k;
    onnx EyeLike 9 => index::eye_like;
    onnx Range 11 => index::range;
    ml ArrayFeatureExtractor 1 => index::array_feature_extractor;
    onnx ReduceSum 1 => reduce::sum;
    onnx ReduceMean 1 => reduce::mean;
    onnx ReduceProd 1 => reduce::product;
    onnx ReduceMax 1 => reduce::max;
    onnx ReduceMin 1 => reduce::min;
    onnx ReduceL1 1 => reduce::l1;
    onnx ReduceL2 1 => reduce::l2;
    onnx ReduceLogSum 1 => reduce::log_sum;
    onnx ReduceLogSumExp 1 => reduce::log_sum_exp;
    onnx ReduceSumSquare 1 => reduce::sum_square;
    onnx ArgMax 1 => reduce::arg_max;
    onnx ArgMin 1 => reduce::arg_min;
    onnx Softmax 1 => reduce::softmax;
    onnx LogSoftmax 1 => reduce::log_softmax;
    onnx Hardmax 1 => reduce::hardmax;
    onnx CumSum 11 => reduce::cum_sum;
    onnx CumProd 26 => reduce::cum_prod;
    onnx Gemm 1 => linear_algebra::gemm;
    onnx Einsum 12 => linear_algebra::einsum;
    onnx Det 11 => linear_algebra::determinant;
    onnx NegativeLogLikelihoodLoss 12 => losses::negative_log_likelihood;
    onnx SoftmaxCrossEntropyLoss 12 => losses::softmax_cross_entropy;
    training Adagrad 1 => training::adagrad;
    training Adam 1 => training::adam;
    training Momentum 1 => training::momentum;
    onnx RandomUniform 1 => random::random_uniform;
    onnx RandomUniformLike 1 => random::random_uniform_like;
    onnx RandomNormal 1 => random::random_normal;
    onnx RandomNormalLike 1 => random::random_normal_like;
    onnx Bernoulli 15 => random::bernoulli;
    onnx Multinomial 7 => random::multinomial;
    onnx Dropout 7 => random::dropout;
    onnx DFT 17 => signal::dft;
    onnx STFT 17 => signal::stft;
    onnx HannWindow 17 => signal::hann_window;
    onnx HammingWindow 17 => signal::hamming_window;
    onnx BlackmanWindow 17 => signal::blackman_window;
    onnx MelWeightMatrix 17 => signal::mel_weight_matrix;
};

/// The newest operator set of each domain that the list was written against. What a later one changed is not known.
const NEWEST: &[(&str, i64)] = &[("", 26), (ML, 5), (TRAINING, 1), (MICROSOFT, 1)];

/// The newest known operator set of a domain; `None` for domains that have no operators here.
pub fn newest(domain: &str) -> Option<i64> {
    NEWEST.iter().find(|(known, _)| *known == domain).map(|(_, version)| *version)
}

/// The entry for an operator at a version.
pub fn find(domain: &str, name: &str, version: i64) -> Option<ImportFn> {
    ALL.iter()
        .filter(|e| e.domain == domain && e.name == name && e.since <= version)
        .max_by_key(|e| e.since)
        .map(|e| e.import)
}

/// Why there is no entry, in words.
pub fn unsupported(domain_name: &str, domain: &str, name: &str, version: i64) -> String {
    let first = ALL.iter().filter(|e| e.domain == domain && e.name == name).map(|e| e.since).min();
    match first {
        Some(first) => {
            format!("{domain_name}::{name} of version {version} is not supported, only from version {first} on")
        }
        None => format!("operator {domain_name}::{name} (version {version}) is not supported"),
    }
}
