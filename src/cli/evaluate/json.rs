//! Writes figures into `report.json`. It is separate because the modules that compute them know no file format.

use serde::{Serialize, Serializer};

use crate::evaluation::Estimate;
use crate::evaluation::au_pro::PixelFigures;
use crate::evaluation::layout::LeftOut;

#[derive(Serialize)]
struct EstimateJson {
    value: f64,
    lower: f64,
    upper: f64,
}

pub(super) fn estimate<S: Serializer>(estimate: &Option<Estimate>, serializer: S) -> Result<S::Ok, S::Error> {
    let json = estimate.map(|Estimate { value, lower, upper }| EstimateJson { value, lower, upper });
    json.serialize(serializer)
}

#[derive(Serialize)]
struct PixelFiguresJson {
    auroc: f64,
    au_pro: f64,
}

pub(super) fn pixel_figures<S: Serializer>(figures: &PixelFigures, serializer: S) -> Result<S::Ok, S::Error> {
    let PixelFigures { auroc, au_pro } = *figures;
    PixelFiguresJson { auroc, au_pro }.serialize(serializer)
}

#[derive(Serialize)]
struct LeftOutJson<'a> {
    name: &'a str,
    why: &'a str,
}

pub(super) fn left_out<S: Serializer>(list: &[LeftOut], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(|LeftOut { name, why }| LeftOutJson { name, why }))
}
