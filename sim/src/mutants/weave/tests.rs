use super::*;

const OLD: &str = r#"
struct A { field: u8 }
impl A {
    /// fn not_this() {}
    pub const fn one<'a>(&'a self, f: impl Fn(u8) -> u8) -> u8 {
        let _brace = ('{', "}", "\"{", '\'', r"\");
        f(1)
    }

    fn two(self) -> [u8; 2] { fn inner() {} inner(); [self.field, 2] }
}
trait T { fn none(&self); }
"#;

fn changed(old: &str, new: &str) -> Vec<(String, String, String)> {
    vec![(
        "core/a.rs".to_owned(),
        OLD.to_owned(),
        OLD.replace(old, new),
    )]
}

#[test]
fn functions_are_found_between_strings_and_comments() {
    let names: Vec<&str> = functions(OLD).iter().map(|found| found.name).collect();
    assert_eq!(names, ["one", "two"]);
    let two = &functions(OLD)[1];
    assert_eq!(
        &OLD[two.body.clone()],
        " fn inner() {} inner(); [self.field, 2] "
    );
}

#[test]
fn each_body_has_its_number() {
    let mut loom = Loom::default();
    assert!(loom.take(7, &changed("f(1)", "f(3)")));
    assert!(loom.take(9, &changed("f(1)", "f(4)")));
    let woven = loom.weave("core/a.rs", OLD);
    assert!(woven.contains("pub fn one<'a>"), "{woven}");
    assert!(woven.contains("match crate::mutant() {\n7 => {"), "{woven}");
    assert!(woven.contains("f(3)") && woven.contains("f(4)") && woven.contains("f(1)"));
    assert_eq!(functions(&woven).len(), 2, "{woven}");
    assert_eq!(loom.weave("core/b.rs", "fn b() {}"), "fn b() {}");
}

#[test]
fn what_changes_more_than_bodies_is_not_woven() {
    let mut loom = Loom::default();
    assert!(!loom.take(1, &changed("field: u8 }", "field: u16 }")));
    assert!(!loom.take(2, &changed("fn two(self)", "fn two(&self)")));
    assert_eq!(loom.names().count(), 0);
}
