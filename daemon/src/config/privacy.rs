//! `[privacy]`: which backends callers may get.

use causeway_dialect::model::ModelName;
use causeway_wire::Backend;

use super::{Reader, Route, expect};

/// Which backends callers may get.
#[derive(Clone, PartialEq, Debug)]
pub struct Privacy {
    /// The most open route.
    pub route: Route,
    /// Patterns of models, each with the most open route of its own.
    pub models: Vec<(String, Route)>,
}

impl Privacy {
    /// The backends that the owner allows this model, if each were there: the general route and that of
    /// every pattern that fits.
    #[must_use]
    pub fn allowed(&self, model: &ModelName) -> Vec<Backend> {
        let own = self.models.iter().filter(|(pattern, _)| model.matches(pattern)).map(|(_, route)| *route);
        let routes: Vec<Route> = own.chain([self.route]).collect();
        let all = self.route.ceiling().into_iter();
        all.filter(|backend| routes.iter().all(|route| route.ceiling().contains(backend))).collect()
    }
}

pub(super) fn privacy(reader: &mut Reader) -> Privacy {
    let route = reader.or("privacy.route", Route::Auto, expect::route);
    let mut models = Vec::new();
    while reader.has(&format!("privacy.model[{}]", models.len())) {
        let prefix = format!("privacy.model[{}]", models.len());
        let name = reader.required(&format!("{prefix}.name"), "a pattern of model names", expect::pattern);
        let route = reader.required(&format!("{prefix}.route"), "the most open route of these models", expect::route);
        // What cannot be read is a fault; until it is mended nothing starts.
        models.push((name.unwrap_or_default(), route.unwrap_or(Route::LocalOnly)));
        reader.refuse_all(&format!("{prefix}."), "unknown key, expected one of name, route");
    }
    Privacy { route, models }
}
