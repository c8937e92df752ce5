//! Camera controls such as exposure and gain: set once to the configured values, then checked again and again.
//!
//! Guarantees: where a value has no effect while an automatic mode is on, that mode is switched off first, unless the
//! configuration sets the mode itself. A control that does not hold its value is reported, with both values.
//! A control that drifts is reported, not set again: the process that changed it would change it back, and a
//! picture that keeps changing is worse than one that changed once.

use std::collections::BTreeMap;

use v4l::Device;
use v4l::v4l_sys::{V4L2_CID_AUTO_WHITE_BALANCE, V4L2_CID_AUTOGAIN, V4L2_CID_HUE_AUTO};
use v4l::v4l_sys::{V4L2_CID_BLUE_BALANCE, V4L2_CID_RED_BALANCE, V4L2_CID_WHITE_BALANCE_TEMPERATURE};
use v4l::v4l_sys::{V4L2_CID_EXPOSURE, V4L2_CID_EXPOSURE_ABSOLUTE, V4L2_CID_EXPOSURE_AUTO};
use v4l::v4l_sys::{V4L2_CID_FOCUS_ABSOLUTE, V4L2_CID_FOCUS_AUTO, V4L2_CID_GAIN, V4L2_CID_HUE};

use super::ioctl::{self, ControlFacts};

/// A control, the automatic mode that takes it over, and the mode's value for `manual`.
const AUTOMATIC: [(u32, u32, i64); 8] = [
    (V4L2_CID_EXPOSURE_ABSOLUTE, V4L2_CID_EXPOSURE_AUTO, 1),
    (V4L2_CID_EXPOSURE, V4L2_CID_EXPOSURE_AUTO, 1),
    (V4L2_CID_GAIN, V4L2_CID_AUTOGAIN, 0),
    (V4L2_CID_WHITE_BALANCE_TEMPERATURE, V4L2_CID_AUTO_WHITE_BALANCE, 0),
    (V4L2_CID_RED_BALANCE, V4L2_CID_AUTO_WHITE_BALANCE, 0),
    (V4L2_CID_BLUE_BALANCE, V4L2_CID_AUTO_WHITE_BALANCE, 0),
    (V4L2_CID_FOCUS_ABSOLUTE, V4L2_CID_FOCUS_AUTO, 0),
    (V4L2_CID_HUE, V4L2_CID_HUE_AUTO, 0),
];

/// The driver's name in the form that the configuration uses: `Exposure Time, Absolute` is `exposure_time_absolute`.
pub(super) fn typed_name(name: &str) -> String {
    let words = name.split(|character: char| !character.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect::<Vec<_>>().join("_")
}

/// Sets the controls, as far as the camera has them. [`drifted`] reports those that then do not hold their values.
pub(super) fn set(device: &Device, wanted: &BTreeMap<String, i64>) {
    if wanted.is_empty() {
        return;
    }
    let there = ioctl::controls(device).unwrap_or_default();
    for (control, value) in in_order(&there, wanted) {
        match ioctl::set_value(device, control.id, value) {
            Ok(()) => tracing::debug!("camera: {} = {value}", typed_name(&control.name)),
            Err(error) => tracing::warn!("camera: {} = {value}: {error}", typed_name(&control.name)),
        }
    }
}

/// Automatic modes first.
fn in_order<'a>(there: &'a [ControlFacts], wanted: &BTreeMap<String, i64>) -> Vec<(&'a ControlFacts, i64)> {
    let by_id = |id| there.iter().find(|control| control.id == id);
    let is_mode = |id: u32| AUTOMATIC.iter().any(|&(_, mode, _)| mode == id);
    let named: Vec<(&ControlFacts, i64)> = there
        .iter()
        .filter_map(|control| Some((control, *wanted.get(&typed_name(&control.name))?)))
        .collect();
    let (mut order, values): (Vec<_>, Vec<_>) = named.iter().partition(|(control, _)| is_mode(control.id));
    for (control, _) in &values {
        for &(_, mode, manual) in AUTOMATIC.iter().filter(|(id, ..)| *id == control.id) {
            if let Some(mode) = by_id(mode)
                && order.iter().all(|(earlier, _)| earlier.id != mode.id)
            {
                order.push((mode, manual));
            }
        }
    }
    order.extend(values);
    order
}

/// One sentence for each control that does not have the value it was set to.
pub(super) fn drifted(device: &Device, wanted: &BTreeMap<String, i64>) -> Vec<String> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let there = match ioctl::controls(device) {
        Ok(there) => there,
        Err(error) => return vec![format!("controls cannot be read: {error}")],
    };
    let drifted = wanted.iter().map(|(name, &value)| {
        let control = there.iter().find(|control| typed_name(&control.name) == *name);
        judge(name, value, control, |control| ioctl::value(device, control.id))
    });
    drifted.flatten().collect()
}

/// What is wrong with one control; `None` if it has its value.
fn judge(
    name: &str,
    wanted: i64,
    control: Option<&ControlFacts>,
    read: impl FnOnce(&ControlFacts) -> std::io::Result<i64>,
) -> Option<String> {
    let Some(control) = control else {
        return Some(format!("{name}: the camera has no such control"));
    };
    let (low, high) = (control.minimum, control.maximum);
    if !(low..=high).contains(&wanted) {
        return Some(format!("{name} = {wanted}: out of range, {low} to {high} are allowed"));
    }
    match read(control) {
        Ok(value) if value == wanted => None,
        Ok(value) => Some(format!("{name} = {value}, not {wanted} as it was set")),
        Err(error) => Some(format!("{name} cannot be read back: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(id: u32, name: &str) -> ControlFacts {
        ControlFacts {
            id,
            name: name.to_owned(),
            minimum: 0,
            maximum: 255,
            step: 1,
            default: 0,
            read_only: false,
            inactive: false,
            items: Vec::new(),
        }
    }

    fn camera() -> Vec<ControlFacts> {
        vec![
            control(V4L2_CID_WHITE_BALANCE_TEMPERATURE, "White Balance Temperature"),
            control(V4L2_CID_GAIN, "Gain"),
            control(V4L2_CID_AUTO_WHITE_BALANCE, "White Balance, Automatic"),
            control(V4L2_CID_EXPOSURE_AUTO, "Auto Exposure"),
            control(V4L2_CID_EXPOSURE_ABSOLUTE, "Exposure Time, Absolute"),
        ]
    }

    fn order(wanted: &[(&str, i64)]) -> Vec<(String, i64)> {
        let wanted = wanted.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let (there, mut order) = (camera(), Vec::new());
        for (control, value) in in_order(&there, &wanted) {
            order.push((typed_name(&control.name), value));
        }
        order
    }

    #[test]
    fn names_are_typed_as_v4l2_ctl_writes_them() {
        let names = [
            ("Exposure Time, Absolute", "exposure_time_absolute"),
            ("White Balance, Automatic", "white_balance_automatic"),
            ("Gain", "gain"),
            ("S32 2 Element Array", "s32_2_element_array"),
        ];
        for (name, typed) in names {
            assert_eq!(typed_name(name), typed);
        }
    }

    #[test]
    fn an_automatic_mode_goes_off_before_its_value_is_set() {
        let got = order(&[("exposure_time_absolute", 120), ("white_balance_temperature", 4600), ("gain", 3)]);
        let at = |name: &str| got.iter().position(|(n, _)| n == name).unwrap();
        assert!(at("auto_exposure") < at("exposure_time_absolute"), "{got:?}");
        assert!(at("white_balance_automatic") < at("white_balance_temperature"), "{got:?}");
        assert_eq!(got[at("auto_exposure")].1, 1, "1 is manual");
        assert_eq!(got[at("white_balance_automatic")].1, 0);
        // This camera has no automatic gain.
        assert_eq!(got.len(), 5);
    }

    #[test]
    fn a_mode_that_the_configuration_sets_is_left_alone() {
        let got = order(&[("exposure_time_absolute", 120), ("auto_exposure", 3)]);
        assert_eq!(got, [("auto_exposure".to_owned(), 3), ("exposure_time_absolute".to_owned(), 120)]);
    }

    #[test]
    fn what_does_not_hold_is_named_with_both_values() {
        let gain = control(V4L2_CID_GAIN, "Gain");
        assert_eq!(judge("gain", 64, Some(&gain), |_| Ok(64)), None);
        let drifted = judge("gain", 64, Some(&gain), |_| Ok(60)).unwrap();
        assert!(drifted.contains("60") && drifted.contains("64"), "{drifted}");
        assert!(judge("gain", 300, Some(&gain), |_| Ok(255)).unwrap().contains("0 to 255"));
        assert!(judge("gian", 3, None, |_| Ok(3)).unwrap().contains("no such control"));
        let unread = judge("gain", 3, Some(&gain), |_| Err(std::io::Error::other("timed out")));
        assert!(unread.unwrap().contains("timed out"));
    }
}
