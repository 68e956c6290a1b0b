//! Numbers, sizes and ages as a reader wants them.

/// Groups the digits of a number by thousands: `48,211`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Writes a duration with its two largest units: `0.4 s`, `14 s`, `2 h 14 m`.
#[must_use]
pub fn age(millis: u64) -> String {
    let seconds = millis / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    if millis < 100 {
        "<0.1 s".to_owned()
    } else if millis < 10_000 {
        format!("{}.{} s", seconds, millis % 1_000 / 100)
    } else if seconds < 60 {
        format!("{seconds} s")
    } else if hours == 0 {
        format!("{minutes} m {} s", seconds % 60)
    } else if days == 0 {
        format!("{hours} h {} m", minutes % 60)
    } else {
        format!("{days} d {} h", hours % 24)
    }
}

/// Writes a byte count in binary units with one decimal: `4.0 KiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1_024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1_024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_from_the_right() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(48_211), "48,211");
        assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn an_age_has_at_most_two_units() {
        assert_eq!(age(99), "<0.1 s");
        assert_eq!(age(430), "0.4 s");
        assert_eq!(age(14_900), "14 s");
        assert_eq!(age(125_000), "2 m 5 s");
        assert_eq!(age(8_040_000), "2 h 14 m");
        assert_eq!(age(200_000_000), "2 d 7 h");
    }

    #[test]
    fn a_size_keeps_one_decimal() {
        assert_eq!(size(1_023), "1023 B");
        assert_eq!(size(4_096), "4.0 KiB");
        assert_eq!(size(1_572_864), "1.5 MiB");
        assert_eq!(size(u64::MAX), "16777215.9 TiB");
    }
}
