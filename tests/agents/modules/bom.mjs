export default "after a mark";
