"""How clients ask and are answered: a class for each endpoint, and the table of which endpoints a model has."""
