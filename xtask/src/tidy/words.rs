//! British words and what Americans write.

use std::collections::HashMap;

/// Beginnings of both, and the endings that words with this beginning have; `-` is none.
const STEMS: &[(&str, &str, &str)] = &[
    ("acknowledgement", "acknowledgment", "- s"),
    ("ageing", "aging", "-"),
    ("aluminium", "aluminum", "-"),
    ("amongst", "among", "-"),
    ("anaesthe", "anesthe", "tic tics sia"),
    ("analogue", "analog", "- s"),
    ("analys", "analyz", "e ed er ers ing able"),
    ("artefact", "artifact", "- s"),
    ("biass", "bias", "ed es ing"),
    ("calibre", "caliber", "- s"),
    ("catalogue", "catalog", "- s"),
    ("cataloguing", "cataloging", "-"),
    ("catalogued", "cataloged", "-"),
    ("catalys", "catalyz", "e ed es ing"),
    ("centre", "center", "- s line lines piece pieces point points"),
    ("centred", "centered", "- ness"),
    ("centring", "centering", "-"),
    ("cheque", "check", "- s"),
    ("cosy", "cozy", "-"),
    ("defence", "defense", "- s less"),
    ("dialogue", "dialog", "- s"),
    ("draught", "draft", "- s"),
    ("dreamt", "dreamed", "-"),
    ("enrol", "enroll", "- s"),
    ("enrolment", "enrollment", "- s"),
    ("epicentre", "epicenter", "- s"),
    ("fibre", "fiber", "- s"),
    ("focuss", "focus", "ed es ing"),
    ("fulfil", "fulfill", "- s"),
    ("fulfilment", "fulfillment", "- s"),
    ("grey", "gray", "- s ed er est ing ish ness scale scales level levels"),
    ("instalment", "installment", "- s"),
    ("jewellery", "jewelry", "-"),
    ("judgement", "judgment", "- s"),
    ("kerb", "curb", "- s"),
    ("leapt", "leaped", "-"),
    ("learnt", "learned", "-"),
    ("licence", "license", "- s d"),
    ("litre", "liter", "- s"),
    ("lustre", "luster", "-"),
    ("manoeuvr", "maneuver", "able"),
    ("manoeuvre", "maneuver", "- s"),
    ("manoeuvred", "maneuvered", "-"),
    ("manoeuvring", "maneuvering", "-"),
    ("marvellous", "marvelous", "- ly"),
    ("maths", "math", "-"),
    ("meagre", "meager", "- ly"),
    ("metre", "meter", "- s"),
    ("mould", "mold", "- s ed ing y"),
    ("moustache", "mustache", "- s"),
    ("offence", "offense", "- s"),
    ("orientate", "orient", "- s"),
    ("orientated", "oriented", "-"),
    ("orientating", "orienting", "-"),
    ("paralys", "paralyz", "e ed es ing"),
    ("plough", "plow", "- s ed ing"),
    ("practis", "practic", "e ed es ing"),
    ("pretence", "pretense", "- s"),
    ("programme", "program", "- s"),
    ("pyjamas", "pajamas", "-"),
    ("sabre", "saber", "- s"),
    ("sceptic", "skeptic", "- s al ally ism"),
    ("skilful", "skillful", "- ly"),
    ("smoulder", "smolder", "- s ed ing"),
    ("sombre", "somber", "- ly"),
    ("speciality", "specialty", "-"),
    ("spectre", "specter", "- s"),
    ("spelt", "spelled", "-"),
    ("theatre", "theater", "- s"),
    ("tranquillity", "tranquility", "-"),
    ("tyre", "tire", "- s"),
    ("unshakeable", "unshakable", "-"),
    ("whilst", "while", "-"),
    ("wilful", "willful", "- ly"),
    ("woollen", "woolen", "- s"),
];

/// Words in `our`, which end in `or`.
const OUR: &str = "arm ard behavi cand clam col demean endeav fav ferv flav harb hon hum lab neighb od parl ranc rig rum \
                   sav savi splend succ tum val vap vig";
const OUR_ENDINGS: &str = "- s ed ing ful fully less able ably al ally hood hoods ly er ers ist ists ite ites y map maps bar \
                           bars blind space spaces scheme schemes ize ized izes izing ization";

/// Verbs in `ise`, which end in `ize`.
const ISE: &str = "actual alphabet amort anonym apolog atom author autom binar brutal canonical capital \
                   categor central character civil colon colour computer conceptual container context contextual critic \
                   crystall custom decentral diagonal digit discret dramat econom emphas energ equal external factor familiar \
                   fantas fertil final formal general global harmon hospital humid hybrid hypnot hypothes ideal \
                   immortal immun individual industrial initial institutional internal ion item \
                   jeopard kernel legal liberal linear local magnet marginal material maxim mechan memor mesmer \
                   metabol minim mobil modern modular monopol moral national neutral normal optim orthogonal \
                   orthonormal organ oxid parallel parameter parametr pasteur patron penal personal plagiar polar popular \
                   poster pressur priorit privat proportional public pulver quant random raster rational \
                   real recogn regular revolution sanit satir scrutin serial sexual signal social solar spatial special \
                   stabil standard steril stigmat styl subsid summar symbol symmetr sympath synchron synthes systemat \
                   tabular temporal terror theor token total traumat trivial urban util vandal vapor vector verbal victim \
                   virtual visual vital vocal weapon western";
const ISE_ENDINGS: &str = "e ed es er ers ing able ation ations ational";

/// Verbs whose last letter is doubled.
const DOUBLED: &str = "bevel cancel channel chisel counsel dial duel enamel equal fuel funnel gravel grovel initial jewel \
                       kernel label level libel marshal marvel medal model panel parcel pedal pencil pixel pummel quarrel \
                       refuel revel rival shovel shrivel signal snivel spiral stencil swivel symbol total towel travel tunnel \
                       unravel";

/// What may stand before any of them.
const PREFIXES: &str = "- auto centi co de dis hyper inter kilo micro milli mis multi nano non over post pre re semi sub super un \
                        under";

/// American words by their British forms, all in small letters.
pub fn american() -> HashMap<String, String> {
    let mut words = HashMap::new();
    let mut add = |british: &str, american: &str, endings: &str| {
        for prefix in PREFIXES.split_whitespace().map(|prefix| prefix.trim_matches('-')) {
            for ending in endings.split_whitespace().map(|ending| ending.trim_matches('-')) {
                words.insert(format!("{prefix}{british}{ending}"), format!("{prefix}{american}{ending}"));
            }
        }
    };
    for (british, american, endings) in STEMS {
        add(british, american, endings);
    }
    for stem in OUR.split_whitespace() {
        add(&format!("{stem}our"), &format!("{stem}or"), OUR_ENDINGS);
    }
    for stem in ISE.split_whitespace() {
        let american = stem.replace("our", "or");
        add(&format!("{stem}is"), &format!("{american}iz"), ISE_ENDINGS);
    }
    for stem in DOUBLED.split_whitespace() {
        let last = stem.chars().last().unwrap_or_default();
        add(&format!("{stem}{last}"), stem, "ed ing er ers");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::american;

    #[test]
    fn british_words_have_american_forms() {
        let words = american();
        for (british, expected) in [
            ("colour", "color"),
            ("colourbar", "colorbar"),
            ("colourises", "colorizes"),
            ("optimiser", "optimizer"),
            ("uninitialised", "uninitialized"),
            ("reparameterisation", "reparameterization"),
            ("mislabelled", "mislabeled"),
            ("recentred", "recentered"),
            ("neighbouring", "neighboring"),
            ("greyscale", "grayscale"),
            ("analysing", "analyzing"),
            ("licence", "license"),
            ("millimetres", "millimeters"),
            ("artefacts", "artifacts"),
            ("unorganised", "unorganized"),
        ] {
            assert_eq!(words.get(british).map(String::as_str), Some(expected), "{british}");
        }
    }

    #[test]
    fn words_that_both_write_are_left_alone() {
        let words = american();
        for word in "exercise precise promise noise otherwise supervise compromise surprise rise arise advise revise wise \
                     disguise comprise analysis analyses emphasis hypotheses parameter meter our hour four source course \
                     contour detour tour controlled compelled called spelled propelled rolled filled cancellation license \
                     color center dialog metadata organism optimism optimist realism premise concise raise praise cruise \
                     programmed programmer catalyst fulfilled enrolled tiled scaled sampled doubled handled"
            .split_whitespace()
        {
            assert_eq!(words.get(word), None, "{word}");
        }
    }
}
