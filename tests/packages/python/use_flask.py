"""Flask: routes, templates, sessions, errors and JSON, by its test client."""
from flask import Blueprint, Flask, abort, jsonify, redirect, render_template_string, request, session, url_for

app = Flask(__name__)
app.secret_key = "not secret"
api = Blueprint("api", __name__, url_prefix="/api")


@app.route("/hello/<name>")
def hello(name):
    return render_template_string("<p>{{ name|title }} &amp; {{ '<b>' }}{% for n in range(3) %} {{ n }}{% endfor %}</p>", name=name)


@app.post("/login")
def login():
    session["user"] = request.form["user"]
    return redirect(url_for("me"))


@app.get("/me")
def me():
    return session.get("user") or abort(401, "who are you?")


@api.route("/sum", methods=["POST"])
def total():
    data = request.get_json()
    return jsonify(total=sum(data["numbers"]), asked=request.args.getlist("tag")), 201, {"X-Kind": "sum"}


@app.errorhandler(401)
def refused(error):
    return {"error": error.description}, 401


@app.after_request
def mark(response):
    response.headers["X-Mark"] = request.endpoint or "none"
    return response


app.register_blueprint(api)
client = app.test_client()
for response in [
    client.get("/hello/ada%20l"), client.get("/me"), client.post("/login", data={"user": "ada"}), client.get("/me"),
    client.post("/api/sum?tag=a&tag=b", json={"numbers": [1, 2, 3]}), client.post("/api/sum", data="x"), client.get("/nowhere"),
    client.put("/me"),
]:
    print(response.status, response.headers["X-Mark"], response.headers.get("Location"), response.get_data(as_text=True).strip()[:120])
with app.test_request_context("/x?q=1"):
    print(url_for("hello", name="a b", page=2), request.args["q"], sorted(rule.rule for rule in app.url_map.iter_rules()))
